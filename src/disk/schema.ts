// Schemas of what is read from files. zod, and each schema, is made when the first such file is read: zod's hundred files
// take 60 to 90 ms of processor time, as much as Node itself, and most threads and programs begin without a file to check.
import { createRequire } from 'node:module';
import type { z } from 'zod';

const require = createRequire(import.meta.url);

/** zod, loaded by the first call; `require` takes less time for it than `import`, and can wait. */
export function zod(): typeof z {
  return require('zod').z;
}

/** A schema that `make` makes when it is first asked for. */
export function schema<S>(make: (z: ReturnType<typeof zod>) => S): () => S {
  let made: S | undefined;
  return () => {
    made ??= make(zod());
    return made;
  };
}

/** What a schema of `schema` gives. */
export type ValueOf<S extends () => z.ZodType> = z.output<ReturnType<S>>;
