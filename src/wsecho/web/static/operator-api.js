/* The admin endpoint's API, asked from its own page.
 *
 * Rules: the token stays in this tab: in memory, and in sessionStorage so that a reload does not ask for it again.
 * It goes into the Authorization header, never into a URL. What the server refuses is an ApiError with its one
 * line. It must not know the page.
 */

const KEY = 'wsecho.admin-token';

export class ApiError extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
  }
}

let token = kept();

function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    // A browser may forbid it; then the token is in memory alone.
    return null;
  }
}

export const hasToken = () => token !== null;

export function setToken(value) {
  token = value;
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // Likewise.
  }
}

function headers(body) {
  return {
    ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
    ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
  };
}

/* A response whose status is good; its body is not read yet. `query` may have values that are null: left out. */
export async function open(method, path, { query = {}, body, signal } = {}) {
  // Relative to the page, so that it also works below a proxy's path.
  const url = new URL(`api/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) if (value !== null) url.searchParams.set(name, value);
  const response = await fetch(url, {
    method,
    headers: headers(body),
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    cache: 'no-store',
    credentials: 'omit',
    redirect: 'error',
  });
  if (response.ok) return response;
  let line = `The server answered ${response.status}.`;
  try {
    line = (await response.json()).error;
  } catch {
    // Something in between may answer in its own words.
  }
  throw new ApiError(response.status, line);
}

/* The JSON value of an answer. */
export async function ask(method, path, options) {
  return (await open(method, path, options)).json();
}
