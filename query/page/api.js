// The only place that speaks to the server: questions, and streams that come back by themselves.

const ANSWER = 10_000;
const BACKOFF = [1_000, 2_000, 4_000, 8_000];

/** The address of a question, from the page's own origin. */
export function address(route, parameters = {}) {
  const url = new URL(`/v1/${route}`, location.origin);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/** The answer to a question; an error says what the server said. */
export async function ask(route, parameters) {
  const response = await fetch(address(route, parameters), { signal: AbortSignal.timeout(ANSWER) });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `${route}: ${response.status}`);
  }
  return response.json();
}

/** All rows of a question, page by page, as far as somebody looks. */
export async function askAll(route, parameters, pages) {
  const rows = [];
  let after = null;
  for (let page = 0; page < pages; page += 1) {
    const answer = await ask(route, { ...parameters, limit: 10_000, after });
    rows.push(...answer.rows);
    after = answer.next;
    if (!after) break;
  }
  return rows;
}

/** A stream of events: begins with a look at how things stand, then tells what changes; again after each end. */
export class Stream {
  constructor(parameters, { begin, take, lost }) {
    this.parameters = parameters;
    this.events = parameters.events.split(",");
    this.begin = begin;
    this.take = take;
    this.lost = lost;
    this.failures = 0;
    this.last = 0; // when something came
    this.next = 0; // when it is tried again
    this.live = false;
  }

  open() {
    this.close();
    const source = (this.source = new EventSource(address("stream", this.parameters)));
    let waiting = [];
    const pass = (name, data) => {
      this.last = Date.now();
      if (waiting) waiting.push([name, data]);
      else this.take(name, data);
    };
    for (const name of this.events) {
      source.addEventListener(name, (event) => source === this.source && pass(name, JSON.parse(event.data)));
    }
    source.addEventListener("start", async (event) => {
      this.last = Date.now();
      try {
        await this.begin(JSON.parse(event.data));
      } catch (error) {
        if (source === this.source) this.again(error.message);
        return;
      }
      if (source !== this.source) return;
      this.failures = 0;
      this.live = true;
      const missed = waiting;
      waiting = null;
      for (const [name, data] of missed) this.take(name, data);
    });
    source.onerror = () => source === this.source && this.again("");
  }

  /** End it and try again a little later. */
  again(why) {
    this.close();
    const pause = BACKOFF[Math.min(this.failures, BACKOFF.length - 1)];
    this.failures += 1;
    this.next = Date.now() + pause;
    this.timer = setTimeout(() => this.open(), pause);
    this.lost(why);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.live = false;
  }
}
