// Element types of tensors: names as PyTorch spells them, LibTorch's ScalarType codes, bytes per element.

export const DTYPES = {
  uint8: { code: 0, bytes: 1 },
  int8: { code: 1, bytes: 1 },
  int16: { code: 2, bytes: 2 },
  int32: { code: 3, bytes: 4 },
  int64: { code: 4, bytes: 8 },
  float16: { code: 5, bytes: 2 },
  float32: { code: 6, bytes: 4 },
  float64: { code: 7, bytes: 8 },
  complex64: { code: 9, bytes: 8 },
  complex128: { code: 10, bytes: 16 },
  bool: { code: 11, bytes: 1 },
  bfloat16: { code: 15, bytes: 2 },
} as const;

export type DType = keyof typeof DTYPES;

const byCode = new Map<number, DType>(
  (Object.entries(DTYPES) as [DType, { code: number }][]).map(([name, { code }]) => [code, name]),
);

/** The name of LibTorch's ScalarType `code`; undefined for one that is not supported (quantised types, for example). */
export function dtypeOfCode(code: number): DType | undefined {
  return byCode.get(code);
}
