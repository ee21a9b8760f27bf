// The arithmetic that a user chooses.

/** fp32: everything in float32. tf32: float32 with TF32 matrix products on CUDA. bf16: matrix products in bfloat16. */
export const precisions = ['fp32', 'tf32', 'bf16'] as const;
export type Precision = (typeof precisions)[number];
