// How the page says things: numbers, times and ages as words. Pure: no document, no network, no clock of its own.

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

// From here on a person wants to know that nothing comes.
export const STALE = 10 * SECOND;

/** A venue's own decimal text with its thousands apart; digits are never changed. */
export function grouped(text) {
  const [whole, places] = String(text).split(".");
  const apart = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return places === undefined ? apart : `${apart}.${places}`;
}

/** Milliseconds of an ISO time. */
export function moment(iso) {
  return iso === null || iso === undefined ? NaN : Date.parse(iso);
}

/** 12:41:07.333 */
export function clock(time, places = 3) {
  const iso = new Date(time).toISOString();
  return places ? iso.slice(11, 23) : iso.slice(11, 19);
}

/** 09:00 of today; of another day with its date. */
export function since(time, now) {
  const iso = new Date(time).toISOString();
  const day = iso.slice(0, 10) === new Date(now).toISOString().slice(0, 10) ? "" : `${iso.slice(5, 10)} `;
  return day + iso.slice(11, now - time < 10 * MINUTE ? 19 : 16);
}

/** How long something took or takes: 0.2 s, 14 s, 3 min, 2 h. */
export function lasting(time) {
  if (!Number.isFinite(time)) return "";
  const seconds = Math.max(0, time) / SECOND;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  if (time < 100 * MINUTE) return `${(time / MINUTE).toFixed(0)} min`;
  if (time < 48 * HOUR) return `${(time / HOUR).toFixed(0)} h`;
  return `${(time / DAY).toFixed(0)} days`;
}

/** 1 hole, 2 holes. */
export function count(number, word) {
  return `${grouped(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** What part is there; never a hundred while anything is missing. */
export function share(received, missing) {
  if (!missing) return "100 %";
  const part = (100 * received) / (received + missing);
  return `${Math.min(99.99, Math.floor(part * 100) / 100).toFixed(2)} %`;
}

/** Shorter numbers for an axis or a legend: 1.204, 38.2 k. */
export function amount(text) {
  const number = Number(text);
  if (number >= 1e9) return `${(number / 1e9).toFixed(2)} G`;
  if (number >= 1e6) return `${(number / 1e6).toFixed(2)} M`;
  if (number >= 1e4) return `${(number / 1e3).toFixed(1)} k`;
  return grouped(Number(number.toPrecision(5)));
}

/** How many decimal places some texts have at most. */
export function places(texts) {
  return Math.max(0, ...texts.map((text) => String(text).split(".")[1]?.length ?? 0));
}
