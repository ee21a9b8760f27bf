// The process's heap, which both torch.node and image.node set up for large blocks.
#pragma once
#include <malloc.h>

// On free, glibc returns blocks above a threshold to the system; their next use page-faults again, which costs more
// than the arithmetic on them. This keeps them in the heap, up to a size where the faults no longer matter (an older
// glibc refuses more than 32 MiB).
inline void KeepFreedMemory() {
#if defined(__GLIBC__)
  if (mallopt(M_MMAP_THRESHOLD, 1 << 30) == 0) mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

// Gives back what KeepFreedMemory has kept. Blocks that live long lie between those that come and go, and none of the
// heap's gaps is exactly as large as the next block: from epoch to epoch it grows. Its pages fault again when they are
// used.
inline void TrimFreedMemory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}
