// What attention computes: queries times keys, softmax, weights times values.
#pragma once

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace {

// How R queries meet keys, and their weights meet values, in heads of D numbers, a multiple of PARTIALS; D = 0 serves any size.
// `row(k)` is the k-th key or value, loaded once for all R. PACK of them meet values together, HELD vectors of a head at a time,
// so that the sums stay in registers.
template <int D>
struct HeadKernel {
    static constexpr int VECTORS = D / LANES;
    static constexpr int HELD = VECTORS % 4 == 0 ? 4 : VECTORS % 5 == 0 ? 5 : VECTORS % 3 == 0 ? 3 : VECTORS;
    static constexpr int PACK = std::min(4, (LANES == 16 ? 24 : 12) / HELD), PAIR = 2;

    template <int R, class Row>
    static void dot_keys(const float* const* q, Row row, int, int n, float* const* out) {
        constexpr int K = LANES / R;  // keys together; a sum does not depend on how many there are
        for (int first = 0; first < n; first += K) {
            V parts[LANES][PARTS], joint[LANES];
            const float* keys[K];
            for (int k = 0; k < K; k++) keys[k] = row(std::min(first + k, n - 1));
            for (int p = 0; p < PARTS; p++) {  // one after another: registers hold the sums of one
                V acc[LANES] = {};
#pragma GCC unroll 4
                for (int i = p; i < VECTORS; i += PARTS)
#pragma GCC unroll 16
                    for (int k = 0; k < K; k++) {
                        const V key = load(keys[k] + i * LANES);
#pragma GCC unroll 2
                        for (int r = 0; r < R; r++) acc[r * K + k] = madd(load(q[r] + i * LANES), key, acc[r * K + k]);
                    }
#pragma GCC unroll 16
                for (int s = 0; s < LANES; s++) parts[s][p] = acc[s];
            }
#pragma GCC unroll 16
            for (int s = 0; s < LANES; s++) joint[s] = joined(parts[s]);
            float sums[LANES];
            store(sums, hsums(joint));
            for (int r = 0; r < R; r++) std::copy_n(sums + r * K, std::min(K, n - first), out[r] + first);
        }
    }

    template <int R, class Row>
    static void add_values(const float* const* weights, Row row, int, int n, float* const* out) {
        for (int base = 0; base < D; base += HELD * LANES) {
            V acc[R][HELD];
#pragma GCC unroll 4
            for (int r = 0; r < R; r++)
#pragma GCC unroll 5
                for (int i = 0; i < HELD; i++) acc[r][i] = load(out[r] + base + i * LANES);
            for (int k = 0; k < n; k++) {
                const float* value = row(k) + base;
#pragma GCC unroll 5
                for (int i = 0; i < HELD; i++) {
                    const V v = load(value + i * LANES);
#pragma GCC unroll 4
                    for (int r = 0; r < R; r++) acc[r][i] = madd(v, splat(weights[r][k]), acc[r][i]);
                }
            }
#pragma GCC unroll 4
            for (int r = 0; r < R; r++)
#pragma GCC unroll 5
                for (int i = 0; i < HELD; i++) store(out[r] + base + i * LANES, acc[r][i]);
        }
    }
};

template <>
struct HeadKernel<0> {
    static constexpr int PACK = 1, PAIR = 1;

    template <int R, class Row>
    static void dot_keys(const float* const* q, Row row, int d, int n, float* const* out) {
        for (int k = 0; k < n; k++) out[0][k] = dot(q[0], row(k), d);
    }

    template <int R, class Row>
    static void add_values(const float* const* weights, Row row, int d, int n, float* const* out) {
        for (int k = 0; k < n; k++)
            for (int i = 0; i < d; i++) out[0][i] = madd(weights[0][k], row(k)[i], out[0][i]);
    }
};

// Scores to weights in place, padded to a multiple of PARTIALS; returns their sum.
float softmax(float* scores, int n) {
    const int whole = (n + PARTIALS - 1) / PARTIALS * PARTIALS;
    std::fill(scores + n, scores + whole, -INFINITY);
    V most = splat(-INFINITY);
    for (int i = 0; i < whole; i += LANES) {
        const V s = load(scores + i);
        most = s > most ? s : most;
    }
    float top = -INFINITY;
    for (int i = 0; i < LANES; i++) top = std::max(top, most[i]);
    V sums[PARTS] = {};
    for (int i = 0; i < whole; i += PARTIALS)
        for (int p = 0; p < PARTS; p++) {
            float* at = scores + i + p * LANES;
            V e = load(at) - top;
            e = e > -80.0f ? exp_of(e) : (V){};
            store(at, e);
            sums[p] += e;
        }
    return hsum(joined(sums));
}

}  // namespace
