// From the names of a file or a command line (k_test) to those of TypeScript (kTest), in values and in types.

type CamelCase<Name> = Name extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelCase<Tail>>}` : Name;

/** T with its keys in camelCase. */
export type CamelCased<T> = { [K in keyof T as CamelCase<K>]: T[K] };

/** `values` with its keys in camelCase. */
export function camelCased<T extends object>(values: T): CamelCased<T> {
  const renamed = Object.entries(values).map(([name, value]) => [
    name.replace(/_([a-z0-9])/g, (_, first: string) => first.toUpperCase()),
    value,
  ]);
  return Object.fromEntries(renamed) as CamelCased<T>;
}
