/* The choice between light and dark: a <select id="theme"> with the values auto, light and dark.
 *
 * Without a choice it is as the system prefers. A choice is kept in the browser, for this server's pages only.
 * The colours are in base.css. */

const KEY = 'wsecho.theme';

function kept() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    // A browser may forbid it.
    return null;
  }
}

function apply(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function startTheme(select) {
  const theme = kept();
  select.value = theme === 'light' || theme === 'dark' ? theme : 'auto';
  apply(select.value);
  select.addEventListener('change', () => {
    apply(select.value);
    try {
      localStorage.setItem(KEY, select.value);
    } catch {
      // Then it holds until the page is left.
    }
  });
}
