// What is on the screen, as something to run elsewhere. Pure: names of venues and symbols are quoted for each.

/** The bars of a market as curl, SQL and Python. */
export function copies(origin, { exchange, symbol }, interval) {
  const query = [["venue", exchange], ["symbol", symbol], ["interval", interval]]
    .map(([name, value]) => `${name}=${encoded(value)}`)
    .join("&");
  const address = `${origin}/v1/bars?${query}`;
  const where = `exchange = ${sql(exchange)} and symbol = ${sql(symbol)} and interval = ${sql(interval)}`;
  const statement = `select window_start, open, high, low, close, volume, trade_count, missing, revision from bars where ${where} order by window_start`;
  return [
    ["curl", `curl -s ${shell(`${address}&format=csv`)}`],
    ["SQL", `tape sql ${shell(statement)}`],
    ["Python", `import pandas\n\nbars = pandas.read_csv(${JSON.stringify(`${address}&format=csv`)}, parse_dates=["window_start", "window_end"])`],
  ];
}

const encoded = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`);
const sql = (text) => `'${text.replaceAll("'", "''")}'`;

/** One word of a shell, in the quotes that leave it readable. */
function shell(text) {
  return /["$`\\!]/.test(text) || !text.includes("'") ? `'${text.replaceAll("'", "'\\''")}'` : `"${text}"`;
}
