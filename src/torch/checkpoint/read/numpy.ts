// NumPy's numbers in a pickle: those that JavaScript has become numbers, all else of NumPy stays a name.
import { isRef, type OpaqueRef, type PickleValue } from '../types.js';

/** numpy.dtype('f8', False, True): its name says the type, which numpyScalar reads. */
export function numpyDtype([name]: PickleValue[]): OpaqueRef {
  const known = typeof name === 'string' && /^[A-Za-z?]\d{0,9}$/.test(name);
  return { kind: 'opaque', name: known ? `numpy.dtype(${name})` : 'numpy.dtype' };
}

/** BUILD of a dtype, whose state has the byte order: numbers of a big-endian one are not read. */
export function setByteOrder(target: { name: string }, state: PickleValue): void {
  if (target.name.startsWith('numpy.dtype(') && Array.isArray(state) && state[1] === '>') target.name = 'numpy.dtype';
}

/** numpy.float64(0.5) and the like, as training scripts leave them in their records. */
export function numpyScalar([dtype, bytes]: PickleValue[]): PickleValue {
  const kind = isRef(dtype, 'opaque') ? /^numpy\.dtype\(([fiub][1248])\)$/.exec(dtype.name)?.[1] : undefined;
  if (kind === undefined || !(bytes instanceof Uint8Array) || bytes.length !== Number(kind[1])) {
    return { kind: 'opaque', name: isRef(dtype, 'opaque') ? `numpy.generic of ${dtype.name}` : 'numpy.generic' };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (kind) {
    case 'f8':
      return view.getFloat64(0, true);
    case 'f4':
      return view.getFloat32(0, true);
    case 'b1':
      return view.getUint8(0) !== 0;
    default: {
      if (!/^[iu]/.test(kind)) return { kind: 'opaque', name: `numpy.generic of numpy.dtype(${kind})` };
      const length = 8 * bytes.length;
      const hex = Buffer.from(bytes).reverse().toString('hex');
      const value = kind.startsWith('i') ? BigInt.asIntN(length, BigInt(`0x${hex}`)) : BigInt(`0x${hex}`);
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
  }
}
