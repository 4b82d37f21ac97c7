// Linears in whatever format their weights are.
#pragma once

#include "blocks.h"
#include "gemm.h"
#include "model.h"

namespace {

// For all of this thread's tiles and groups of rows: then(first row, rows, first output, outputs, sums). WIDE tiles belong
// together.
template <int WIDE = 1, class Then>
void gemm(const Team& team, const Linear& linear, const Input& x, int m, Then then) {
    if (linear.kind == KIND_INT8) gemm_of<WIDE, int8_t>(team, linear, x, m, then);
    else if (linear.kind == KIND_BF16) gemm_of<WIDE, bf16>(team, linear, x, m, then);
    else if (linear.kind == KIND_FP32) gemm_of<WIDE, float>(team, linear, x, m, then);
    else with_format(linear.kind, [&](auto format) { gemm_of_blocks<WIDE, decltype(format)>(team, linear, x, m, then); });
}

// y = linear(x), or that is added to it; outputs in other formats follow those of the first.
void linear_to(const Team& team, const Linear& linear, const Input& x, int m, float* y, int64_t ldy, bool add) {
    for (const Linear* part = &linear; part; y += part->out, part = part->rest)
        gemm(team, *part, x, m, [&](int row, int rows, int first, int n, const Sums* sums) {
            for (int i = 0; i < rows; i++) {
                float* out = y + (row + i) * ldy + first;
                for (int j = 0; j < n; j++) {
                    float v = (*sums)[i][j] + (part->bias ? part->bias[first + j] : 0.0f);
                    out[j] = add ? out[j] + v : v;
                }
            }
        });
}

}  // namespace
