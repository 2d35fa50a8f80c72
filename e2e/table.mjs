// Plain text tables and amounts for a terminal.

/** Wei as TFUEL with up to `digits` decimals, without floating point. */
export function tfuel(wei, digits = 4) {
  const negative = wei < 0n
  const value = negative ? -wei : wei
  const unit = 10n ** 18n
  const scaled = (value * 10n ** BigInt(digits) + unit / 2n) / unit
  const text = scaled.toString().padStart(digits + 1, '0')
  const fraction = digits ? `.${text.slice(-digits)}` : ''
  return `${negative ? '−' : ''}${text.slice(0, text.length - digits)}${fraction}`
}

/** An amount of TFUEL as people write it, like 0.25, in wei. */
export function wei(text) {
  const [whole, fraction = ''] = text.split('.')
  return BigInt(whole + fraction.padEnd(18, '0'))
}

/** Bytes in a unit that a person reads. */
export function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB']
  let value = Number(count)
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`
}

/** Rows of cells under a header, columns aligned: the first to the left, the others to the right. */
export function table(header, rows) {
  const all = [header, ...rows].map((row) => row.map(String))
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column].length)))
  const line = (row) => row.map((cell, c) => (c ? cell.padStart(widths[c]) : cell.padEnd(widths[c]))).join('  ')
  return [line(all[0]), widths.map((w) => '─'.repeat(w)).join('  '), ...all.slice(1).map(line)].join('\n')
}
