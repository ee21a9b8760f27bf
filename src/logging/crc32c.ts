// CRC-32C (Castagnoli), the checksum of TensorFlow's records.
import { at } from '../errors.js';

const REVERSED_POLYNOMIAL = 0x82f63b78;

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ REVERSED_POLYNOMIAL : value >>> 1;
  return value;
});

/** The CRC-32C of `bytes`, 0 to 2³² - 1. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = at(table, (crc ^ byte) & 0xff) ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The same, turned and shifted, as the records hold it: a checksum of data that hold checksums would be weak. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
