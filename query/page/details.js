// What stands behind a number, in one dialog: a table that is kept up to date while somebody looks at it.

import { find, make, say } from "./frame.js";
import { clock, grouped, lasting, moment } from "./words.js";

const dialog = find("details");
const body = find("details-body");
// More than anybody reads; the API has them all.
const SHOWN = 500;

let again = null;

/** Open with a title; `fill` returns a note and elements, and is asked again whenever something changed. */
export function open(title, fill) {
  say(find("details-title"), title);
  again = fill;
  refresh();
  if (!dialog.open) dialog.showModal();
  body.scrollTop = 0;
}

/** Something has changed. */
export function refresh() {
  if (!again) return;
  const { note, inside, same } = again();
  say(find("details-note"), note);
  if (same && same === body.dataset.same) return;
  body.dataset.same = same ?? "";
  body.replaceChildren(...inside);
}

/** Gaps as a table. */
export function holes(gaps) {
  const shown = gaps.slice(0, SHOWN);
  return {
    same: shown.map((gap) => `${gap.gap_id} ${gap.status}`).join("\n"),
    note: note(gaps),
    inside: gaps.length ? [table(["found (UTC)", "market", "ids", "how it was found or ended", "took", "outcome"], shown.map(line))] : [],
  };
}

function note(gaps) {
  if (!gaps.length) return "No hole was found here: every id that the venue gave out came, or the venue numbers nothing.";
  const more = gaps.length > SHOWN ? `; the newest ${SHOWN} are shown` : "";
  return `Ids that a venue gave out and that did not come in order${more}.`;
}

function line(gap) {
  const from = grouped(gap.first_missing);
  const ids = gap.ids === 1 ? from : `${from} – ${grouped(gap.last_missing)} (${grouped(gap.ids)})`;
  const outcome = make("span", "word", gap.state === "repairing" ? "repairing" : gap.state);
  const cell = make("span", "", outcome);
  cell.dataset.standing = { repaired: "live", repairing: "repairing", lost: "lost" }[gap.state];
  const took = gap.state === "repairing" ? "" : lasting(gap.ended - gap.found);
  const day = new Date(gap.found).toISOString().slice(5, 10);
  const when = day === new Date().toISOString().slice(5, 10) ? "" : `${day} `;
  return [when + clock(gap.found), `${gap.exchange} ${gap.symbol}`, ids, gap.reason, took, cell];
}

/** Dead letters with their raw text. */
export function letters(rows, total) {
  return {
    same: rows.map((row) => row.message_id).join("\n") || "none",
    note: rows.length
      ? `What was refused is kept with its bytes. The newest ${rows.length} of ${grouped(total)}; \`tape dead-letters\` shows and retries them.`
      : "Nothing was refused.",
    inside: rows.flatMap((row) => [
      make(
        "div", "number",
        `${clock(moment(row.received))}  ${row.exchange} ${row.symbol ?? ""}  ${row.stage}: `,
        make("b", "", row.reason), `  ${row.detail}`,
      ),
      make("pre", "", (row.payload ?? row.payload_base64 ?? "").slice(0, 2_000)),
    ]),
  };
}

/** Texts to copy, each with a button. */
export function texts(named) {
  return {
    note: "The same rows, for your own tools.",
    inside: named.flatMap(([name, text]) => {
      const button = make("button", "", "Copy");
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(text);
        say(button, "Copied");
      });
      return [make("div", "copied", make("b", "", name), make("span", "gap"), button), make("pre", "", text)];
    }),
  };
}

function table(names, lines) {
  const head = make("tr", "", ...names.map((name) => make("th", "", name)));
  const rows = lines.map((cells) => make("tr", "number", ...cells.map((cell) => make("td", "", cell))));
  return make("table", "", make("thead", "", head), make("tbody", "", ...rows));
}

dialog.addEventListener("close", () => {
  again = null;
  delete body.dataset.same;
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
find("details-close").addEventListener("click", () => dialog.close());
