// Element types of tensors: PyTorch's names, LibTorch's ScalarType codes, bytes per element, classes of storages in files.

export const DTYPES = {
  uint8: { code: 0, bytes: 1, storage: 'ByteStorage' },
  int8: { code: 1, bytes: 1, storage: 'CharStorage' },
  int16: { code: 2, bytes: 2, storage: 'ShortStorage' },
  int32: { code: 3, bytes: 4, storage: 'IntStorage' },
  int64: { code: 4, bytes: 8, storage: 'LongStorage' },
  float16: { code: 5, bytes: 2, storage: 'HalfStorage' },
  float32: { code: 6, bytes: 4, storage: 'FloatStorage' },
  float64: { code: 7, bytes: 8, storage: 'DoubleStorage' },
  complex64: { code: 9, bytes: 8, storage: 'ComplexFloatStorage' },
  complex128: { code: 10, bytes: 16, storage: 'ComplexDoubleStorage' },
  bool: { code: 11, bytes: 1, storage: 'BoolStorage' },
  bfloat16: { code: 15, bytes: 2, storage: 'BFloat16Storage' },
} as const;

export type DType = keyof typeof DTYPES;

const byCode = new Map<number, DType>(
  (Object.entries(DTYPES) as [DType, { code: number }][]).map(([name, { code }]) => [code, name]),
);

/** The name of LibTorch's ScalarType `code`; undefined for one that is not supported (quantised types, for example). */
export function dtypeOfCode(code: number): DType | undefined {
  return byCode.get(code);
}

/** Number of elements of a shape. */
export function numelOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
