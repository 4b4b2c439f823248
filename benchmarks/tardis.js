// What tardis-dev does with frames of Binance trades: parse, then its own normalising generator and mapper.
// Usage: node tardis.js MODULES FRAMES; a line "go" on stdin is answered with nanoseconds of CPU a frame.
const { readFileSync } = require('fs')
const { createInterface } = require('readline')
const [, , modules, file] = process.argv
const { normalizeTrades } = require(`${modules}/tardis-dev`)
const { normalizeMessages } = require(`${modules}/tardis-dev/dist/handy.js`)

// Bytes, as a socket or a file gives them.
const frames = readFileSync(file, 'utf8').split('\n').map((line) => Buffer.from(line))
const mapper = normalizeTrades('binance', new Date())

async function* messages() {
  const localTimestamp = new Date()
  for (const frame of frames) yield { localTimestamp, message: JSON.parse(frame) }
}

async function wholePath() {
  let count = 0
  for await (const trade of normalizeMessages('binance', undefined, messages(), [mapper], () => [mapper], false)) {
    count += trade.price > 0
  }
  return count
}

function mapperAlone() {
  let count = 0
  const localTimestamp = new Date()
  for (const frame of frames) for (const trade of mapper.map(JSON.parse(frame), localTimestamp)) count += trade.price > 0
  return count
}

async function nanoseconds(run) {
  const before = process.cpuUsage()
  const count = await run()
  const spent = process.cpuUsage(before)
  if (count !== frames.length) throw new Error(`${count} trades of ${frames.length} frames`)
  return ((spent.user + spent.system) * 1000) / count
}

createInterface({ input: process.stdin }).on('line', async () => {
  console.log(JSON.stringify([await nanoseconds(wholePath), await nanoseconds(mapperAlone)]))
})
