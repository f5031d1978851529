/* The setup in the address of the page (behind #), so that a link brings it back.
 *
 * What is kept is what differs from the page as it comes: every field and choice of the forms that has a name.
 *
 * Rules: a link sets fields and nothing more. It does not connect and does not send, for it may be anybody's; nor
 * does it make entries in the browser's history. What it holds is bounded, and what has no place is ignored.
 */

const FORMS = ['connection', 'composer', 'run'];
const LONGEST = 2000; // characters of a field

function controls() {
  const isKept = ({ name, type }) => name && type !== 'file';
  return FORMS.flatMap((form) => [...document.forms[form].elements].filter(isKept));
}

const isTicked = ({ type }) => type === 'radio' || type === 'checkbox';

function isDefault(control) {
  if (isTicked(control)) return control.checked === control.defaultChecked;
  if (control.options) return control.options[control.selectedIndex]?.defaultSelected;
  return control.value === control.defaultValue;
}

/* The setup as text: a=b&c=d, or empty. */
export function setupText() {
  const kept = new URLSearchParams();
  for (const control of controls()) {
    const isSet = !isTicked(control) || control.checked;
    if (isSet && !isDefault(control) && control.value.length <= LONGEST) kept.set(control.name, control.value);
  }
  return kept.toString();
}

/* Set what a text names, and all else as the page comes. */
export function applySetup(text) {
  const asked = new URLSearchParams(text);
  for (const control of controls()) {
    const value = asked.get(control.name)?.slice(0, LONGEST);
    if (control.type === 'radio') {
      const group = [...control.form.elements[control.name]];
      const named = group.find((one) => one.value === value && !one.closest('[hidden]'));
      control.checked = named ? control === named : control.defaultChecked;
    } else if (control.type === 'checkbox') {
      control.checked = value === undefined ? control.defaultChecked : value === control.value;
    } else if (control.options) {
      const isThere = [...control.options].some((option) => option.value === value);
      control.value = isThere ? value : [...control.options].find((option) => option.defaultSelected).value;
    } else {
      control.value = value ?? control.defaultValue;
    }
  }
  for (const details of document.querySelectorAll('details')) {
    if ([...details.querySelectorAll('[name]')].some((control) => !isDefault(control))) details.open = true;
  }
}

export function keepSetup() {
  const text = setupText();
  if (text === location.hash.slice(1)) return;
  history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search);
}
