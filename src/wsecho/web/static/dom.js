/* What the modules of the client's page share about its document. */

export const byId = (id) => document.getElementById(id);

export const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

export function setText(id, text) {
  // A live region is read out again whenever it is written, even with the same words.
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

/* Show what is wrong with a field, in one line, or that nothing is. */
export function showProblem(id, field, text) {
  setText(id, text);
  field.setAttribute('aria-invalid', String(text !== ''));
}

/* Show those parts of the page for which a choice was made: [data-NAME="value"]. */
export function showParts(name, value) {
  for (const part of document.querySelectorAll(`[data-${name}]`)) {
    if (part !== document.body) part.hidden = part.dataset[name] !== value;
  }
}
