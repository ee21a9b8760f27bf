// softmax(q·kᵀ/√d)·v on the CPU, of sequences of any lengths in one call.
#pragma once
#include <cstdint>
#include <vector>

// One sequence: rows of queries that see the same rows of keys and values, and where their results go.
struct Sequence {
  const char *q, *k, *v;
  char* out;
  int64_t queries, keys;
};

// Bytes from row to row and from head to head; the numbers of a row and head stand side by side.
struct Strides {
  int64_t row, head;
};

struct AttentionTask {
  std::vector<Sequence> sequences;
  Strides q, k, v, out;
  int64_t heads, width;  // d
  bool half;             // bfloat16, else float32; sums are float32
};

// Computes task's results, in all threads.
void Attend(const AttentionTask& task);
