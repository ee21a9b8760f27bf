// Numbers, mappings and durations printed as Python prints them, so that logs and evaluate.txt read like the reference's.

/** What `repr(float(value))` gives: the shortest digits that read back equal, `50.0`, `1e-05`, `1e+16`. */
export function pythonFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const scientific = value.toExponential(); // `1.25e-7`
  const mantissa = scientific.slice(0, scientific.indexOf('e'));
  const exponent = Number(scientific.slice(mantissa.length + 1));
  if (exponent < -4 || exponent >= 16) {
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const sign = value < 0 ? '-' : '';
  const digits = mantissa.replace('-', '').replace('.', '');
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`;
}

/** What `'{:.Nf}'.format(value)` gives, for values below 1e21: exact halves go to the even digit, where toFixed goes up. */
export function pythonFixed(value: number, digits: number): string {
  if (!Number.isFinite(value)) return pythonFloat(value);
  const text = `${Object.is(value, -0) ? '-' : ''}${value.toFixed(digits)}`;
  // A double has at most 52 binary places beyond its exponent: 100 decimals show whether this is an exact half.
  const exact = Math.abs(value).toFixed(Math.min(100, digits + 60));
  const half = new RegExp(`^\\d+\\.\\d{${digits}}50*$`).test(exact);
  if (!half || Number(text.at(-1)) % 2 === 0) return text;
  const truncated = exact.slice(0, exact.indexOf('.') + digits + (digits > 0 ? 1 : 0));
  return value < 0 ? `-${truncated}` : truncated;
}

/** A mapping of floats as `json.dumps` writes it: `{"val_txt_r1": 50.0, "val_txt_r5": 75.0}`. */
export function pythonJson(values: Readonly<Record<string, number>>): string {
  return `{${Object.entries(values)
    .map(([key, value]) => `${JSON.stringify(key)}: ${pythonFloat(value)}`)
    .join(', ')}}`;
}

/** A mapping of floats as `print(dict)` shows it: `{'txt_r1': 50.0, 'txt_r5': 75.0}`. */
export function pythonDict(values: Readonly<Record<string, number>>): string {
  return `{${Object.entries(values)
    .map(([key, value]) => `'${key}': ${pythonFloat(value)}`)
    .join(', ')}}`;
}

/** What `str(timedelta(seconds=int(seconds)))` gives: `0:01:07`, `1 day, 2:00:00`. */
export function pythonDuration(seconds: number): string {
  const total = Math.trunc(seconds);
  const days = Math.floor(total / 86400);
  const rest = total - days * 86400;
  const two = (n: number) => String(n).padStart(2, '0');
  const clock = `${Math.floor(rest / 3600)}:${two(Math.floor((rest % 3600) / 60))}:${two(rest % 60)}`;
  return days === 0 ? clock : `${days} day${Math.abs(days) === 1 ? '' : 's'}, ${clock}`;
}
