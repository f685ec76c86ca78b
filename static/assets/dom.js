// The only way this page makes elements. Text is always text, never markup.

/**
 * `element("p", { class: "hint", text: "…", hidden: true, dataset: {…}, on: { click } },
 * ...children)`
 */
export function element(tag, options = {}, ...children) {
  const { text, dataset, on, ...attributes } = options;
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  if (text !== undefined) node.textContent = text;
  Object.assign(node.dataset, dataset);
  for (const [event, handler] of Object.entries(on ?? {})) node.addEventListener(event, handler);
  node.append(...children);
  return node;
}

/**
 * Sets the text of a node, and touches it only if that changes something, so that live regions
 * speak once.
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}
