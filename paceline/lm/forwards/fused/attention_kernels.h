// What attention computes: queries times keys, softmax, weights times values.
#pragma once

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace {

// Queries that share what is loaded, and vectors of keys or of values: as many as have their sums, PACK * HELD, in registers.
constexpr int PACK = LANES == 16 ? 6 : 3, HELD = 4;
constexpr int KEY_BLOCK = HELD * LANES;  // keys that are taken together

// work(first, how many) for `count` things, up to MOST at a time; how many is a type's value.
template <int MOST = PACK, class Work>
inline void in_packs(int count, Work work, int first = 0) {
    for (; first + MOST <= count; first += MOST) work(first, std::integral_constant<int, MOST>{});
    if constexpr (MOST > 1) in_packs<(MOST + 1) / 2>(count, work, first);
}

// Keys as columns, so that no sum has to be made over lanes: number i of key row(k) is at to[i * KEY_BLOCK + k], for n keys of d
// numbers. Behind the n-th stands the last one again.
template <class C, class Row>
void transpose(Row row, int n, int d, float* to) {
    const C* keys[KEY_BLOCK];
    for (int k = 0; k < KEY_BLOCK; k++) keys[k] = row(std::min(k, n - 1));
    int i = 0;
    for (; i + SIDE<C> * LANES <= d; i += SIDE<C> * LANES, to += SIDE<C> * LANES * KEY_BLOCK)
        for (int k = 0; k < KEY_BLOCK; k += LANES) {
            V part[LANES];
#pragma GCC unroll 16
            for (int j = 0; j < LANES; j++) std::memcpy(&part[j], keys[k + j] + i, sizeof(V));
            turn(part);
#pragma GCC unroll 16
            for (int j = 0; j < LANES; j++) {
                float* at = to + SIDE<C> * j * KEY_BLOCK + k;
                store(at, widened<C, 0>(&part[j]));
                if constexpr (SIDE<C> == 2) store(at + KEY_BLOCK, widened<C, 1>(&part[j]));
            }
        }
    for (; i < d; i++, to += KEY_BLOCK)
        for (int k = 0; k < KEY_BLOCK; k++) to[k] = get(keys[k][i]);
}

// out[r][k] = q[r] . key k, of R queries and a block of keys that stand as columns; a sum takes the d numbers in order.
template <int R>
void dot_keys(const float* const* q, const float* keys, int d, float (*out)[KEY_BLOCK]) {
    V acc[R][HELD];
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int p = 0; p < HELD; p++) acc[r][p] = V{};
    for (int i = 0; i < d; i++, keys += KEY_BLOCK) {
        V key[HELD];
#pragma GCC unroll 4
        for (int p = 0; p < HELD; p++) key[p] = load(keys + p * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int p = 0; p < HELD; p++) acc[r][p] = madd(splat(q[r][i]), key[p], acc[r][p]);
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int p = 0; p < HELD; p++) store(out[r] + p * LANES, acc[r][p]);
}

// out[r] += weights[r] times n values, in order, for R queries; from number `from` of their d on, H vectors at a time.
template <int R, int H = HELD>
void add_values(const float* const* weights, const float* values, int d, int n, float* const* out, int from = 0) {
    for (; from + H * LANES <= d; from += H * LANES) {
        V acc[R][H];
#pragma GCC unroll 6
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int p = 0; p < H; p++) acc[r][p] = load(out[r] + from + p * LANES);
        for (int k = 0; k < n; k++) {
            V value[H];
#pragma GCC unroll 4
            for (int p = 0; p < H; p++) value[p] = load(values + int64_t(k) * d + from + p * LANES);
#pragma GCC unroll 6
            for (int r = 0; r < R; r++)
#pragma GCC unroll 4
                for (int p = 0; p < H; p++) acc[r][p] = madd(splat(weights[r][k]), value[p], acc[r][p]);
        }
#pragma GCC unroll 6
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int p = 0; p < H; p++) store(out[r] + from + p * LANES, acc[r][p]);
    }
    if constexpr (H > 1) return add_values<R, H / 2>(weights, values, d, n, out, from);
    for (int r = 0; r < R; r++)
        for (int k = 0; k < n; k++)
            for (int i = from; i < d; i++) out[r][i] = madd(weights[r][k], values[int64_t(k) * d + i], out[r][i]);
}

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
