// Choosing one of many by typing: one list for every button that opens it.

import { find, make } from "./frame.js";

// More than anybody reads; typing finds the others.
const SHOWN = 100;

const box = find("choice");
const search = find("search");
const options = find("options");
let items = [];
let found = [];
let at = 0;
let pick = () => {};
let opener = null;

/** Open below a button; items have a name and a note, and `picked` gets the chosen one. */
export function choose(button, all, current, picked) {
  items = all;
  pick = picked;
  opener = button;
  search.value = "";
  list(Math.max(0, items.findIndex((item) => item.name === current)));
  const { left, bottom } = button.getBoundingClientRect();
  box.style.left = `${Math.max(8, Math.min(left, innerWidth - 268))}px`;
  box.style.top = `${bottom + 4}px`;
  box.showPopover();
  search.focus();
  point(at);
}

function list(first) {
  const words = search.value.trim().toUpperCase();
  found = items.filter((item) => `${item.name} ${item.note ?? ""}`.toUpperCase().includes(words)).slice(0, SHOWN);
  options.replaceChildren(
    ...found.map((item, number) => {
      const option = make("li", "", make("span", "", item.name), make("span", "soft number", item.note ?? ""));
      option.id = `option-${number}`;
      option.role = "option";
      return option;
    }),
    ...(found.length ? [] : [make("li", "empty", items.length ? "none is called so" : "nothing yet")]),
  );
  point(Math.min(first, found.length - 1));
}

function point(number) {
  at = Math.max(0, number);
  found.forEach((_, each) => (options.children[each].ariaSelected = String(each === at)));
  search.setAttribute("aria-activedescendant", found.length ? `option-${at}` : "");
  if (found.length) options.children[at].scrollIntoView({ block: "nearest" });
}

function take(number) {
  const item = found[number];
  box.hidePopover();
  opener.focus();
  if (item) pick(item);
}

search.addEventListener("input", () => list(0));
search.addEventListener("keydown", (event) => {
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
  if (event.key in steps) point(Math.min(found.length - 1, Math.max(0, at + steps[event.key])));
  else if (event.key === "Enter") take(at);
  else return;
  event.preventDefault();
});
options.addEventListener("click", (event) => {
  const number = [...options.children].indexOf(event.target.closest("[role=option]"));
  if (number >= 0) take(number);
});
