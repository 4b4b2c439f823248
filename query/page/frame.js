// Drawing at most once a frame, and the small ways in which this page makes elements. Text is only ever text.

/** A function that has something drawn in the next frame, however often it is called until then. */
export function onceAFrame(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      draw();
    });
  };
}

/** An element with a class and text or children. */
export function make(name, style = "", ...inside) {
  const element = document.createElement(name);
  if (style) element.className = style;
  element.append(...inside.map((each) => (each instanceof Node ? each : document.createTextNode(String(each)))));
  return element;
}

/** Put text where it is not yet. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Put an attribute where it is not yet. */
export function mark(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

export const find = (id) => document.getElementById(id);
