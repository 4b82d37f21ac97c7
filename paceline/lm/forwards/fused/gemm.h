// Rows of activations times tiles of weights in fp32, bf16 or int8, and what linears of all formats have in common.
#pragma once

#include <algorithm>
#include <omp.h>

#include "model.h"
#include "simd.h"

namespace {

constexpr int TILE = 32, VECTORS = TILE / LANES;  // outputs of a linear that lie together, and the vectors that hold them
// The most rows are those whose sums, two vectors each, leave registers for two vectors of weights and one of inputs.
constexpr int MOST_ROWS = LANES == 16 ? 12 : 6;
constexpr int BLOCK = 128;          // inputs that are gone through together, so that their weights stay in cache
constexpr int64_t PREFETCH = 8192;  // bytes of weights fetched in advance

struct Team {
    int id, size;
    void wait() const {
#pragma omp barrier
    }
    // This thread's share of n things.
    int from(int n) const { return int(int64_t(n) * id / size); }
    int to(int n) const { return int(int64_t(n) * (id + 1) / size); }
};

typedef float Sums[MOST_ROWS][TILE];

constexpr int GROUP = 32;  // inputs that share a scale

struct Rounded {  // GROUP numbers of a row: each is its code times `scale`
    int8_t codes[GROUP];
    float scale, sum, first;  // sum: of the codes, first: of the first half of them; whole numbers

    float sum_of(int part, int parts) const { return parts == 1 ? sum : part ? sum - first : first; }
};

struct Input {  // rows, `ldx` apart; the same rounded, `ldc` groups apart, where a linear takes them so
    const float* x;
    int64_t ldx;
    const Rounded* codes;
    int64_t ldc;
};

template <int BYTES>
inline void prefetch(const char* ahead) {  // towards the caches; the hardware's own prefetching reaches half of the memory's rate
#pragma GCC unroll 4
    for (int64_t line = 0; line < BYTES; line += 64) __builtin_prefetch(ahead + line, 0, 1);
}

// sum + w x, of widened weights in this very place: registers are short, and GCC, left to order them, moves sums to the stack.
template <class W>
inline V add_product(V sum, V w, V x) {
#if defined(__AVX512F__) && PACELINE_LANES == 16
    if constexpr (sizeof(W) < 4) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    else
#elif defined(__FMA__) && PACELINE_LANES == 8
    if constexpr (sizeof(W) < 4) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
    else
#endif
    sum = madd(w, x, sum);
    return sum;
}

// The same address, from here on: what is loaded from there is loaded after whatever is before.
template <class W>
inline const W* in_turn(const W* p) {
    __asm__ volatile("" : "+r"(p));
    return p;
}

// Inputs k + ONE of ROWS rows times P vectors of weights of TILES tiles, `size` apart.
template <int ROWS, int TILES, int P, int ONE, class W>
inline void add_input(V (&acc)[TILES][ROWS][P], const float* const (&x)[ROWS], int k, const W* weights, int64_t size) {
#pragma GCC unroll 2
    for (int n = 0; n < TILES; n++) {
        const W* tile = ONE ? in_turn(weights + n * size) : weights + n * size;
        if constexpr (ROWS < P) {  // the fewer of inputs and weights wait in registers
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                const V w = widened<W, ONE>(tile + SIDE<W> * p * LANES);
#pragma GCC unroll 8
                for (int m = 0; m < ROWS; m++) acc[n][m][p] = add_product<W>(acc[n][m][p], w, splat(x[m][k + ONE]));
            }
        } else {
            V w[P];
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) w[p] = widened<W, ONE>(tile + SIDE<W> * p * LANES);
#pragma GCC unroll 12
            for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
                for (int p = 0; p < P; p++) acc[n][m][p] = add_product<W>(acc[n][m][p], w[p], splat(x[m][k + ONE]));
        }
    }
}

// sums[n][m][..] += x[m] . tile n over inputs [from, to), for P vectors of each tile's outputs; in order, in registers.
// Every loop over rows, tiles and vectors is unrolled whole, or the compiler would keep the sums on the stack.
template <int ROWS, int TILES, int P, class W>
void multiply(const float* x, int64_t ldx, const W* weights, int64_t size, int from, int to, Sums* sums, int first) {
    V acc[TILES][ROWS][P];
#pragma GCC unroll 2
    for (int n = 0; n < TILES; n++)
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) acc[n][m][p] = from ? load(sums[n][m] + first + p * LANES) : V{};
    const float* rows[ROWS];
#pragma GCC unroll 12
    for (int m = 0; m < ROWS; m++) rows[m] = x + m * ldx;
    int k = from;
    const W* row = weights + int64_t(k) * TILE + SIDE<W> * first;
    // Line by line, whatever P.
    const char* ahead = (const char*)(row - SIDE<W> * first) + PREFETCH + int64_t(to - from) * sizeof(W) * first;
    for (; k + SIDE<W> <= to; k += SIDE<W>, row += SIDE<W> * TILE, ahead += P * LANES * 4) {
#pragma GCC unroll 2
        for (int n = 0; n < TILES; n++) prefetch<P * LANES * 4>(ahead + n * size * sizeof(W));
        add_input<ROWS, TILES, P, 0>(acc, rows, k, row, size);
        if constexpr (SIDE<W> > 1) add_input<ROWS, TILES, P, 1>(acc, rows, k, row, size);
        if constexpr (SIDE<W> > 2) add_input<ROWS, TILES, P, 2>(acc, rows, k, row, size);
        if constexpr (SIDE<W> > 2) add_input<ROWS, TILES, P, 3>(acc, rows, k, row, size);
    }
    if constexpr (SIDE<W> > 1) {
        if (k < to) add_input<ROWS, TILES, P, 0>(acc, rows, k, row, size);
        if constexpr (SIDE<W> > 2) {
            if (k + 1 < to) add_input<ROWS, TILES, P, 1>(acc, rows, k, row, size);
            if (k + 2 < to) add_input<ROWS, TILES, P, 2>(acc, rows, k, row, size);
        }
    }
#pragma GCC unroll 2
    for (int n = 0; n < TILES; n++)
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) store(sums[n][m] + first + p * LANES, acc[n][m][p]);
}

// sums[n][m][TILE] = x[m] . tile n, for `rows` rows and `tiles` tiles. A few rows take whole tiles, and one of them two tiles:
// each alone would wait for its own sums. More rows take two vectors of a tile at a time, of a block of inputs, so that the
// others stay in cache.
template <class W, int ROWS = MOST_ROWS>
void multiply_tiles(int rows, int tiles, const float* x, int64_t ldx, const W* tile, int64_t size, int in, Sums* sums) {
    constexpr int P = ROWS * VECTORS <= (sizeof(W) < 4 ? 8 : 12) ? VECTORS : 2;  // to widen takes registers too
    if (rows == ROWS) {
        if constexpr (2 * ROWS * VECTORS <= 8)
            if (tiles == 2) return multiply<ROWS, 2, P>(x, ldx, tile, size, 0, in, sums, 0);
        for (int n = 0; n < tiles; n++)
            for (int from = 0; from < in; from += P < VECTORS ? BLOCK : in)
                for (int first = 0; first < TILE; first += P * LANES)
                    multiply<ROWS, 1, P>(x, ldx, tile + n * size, size, from, P < VECTORS ? std::min(in, from + BLOCK) : in,
                                         sums + n, first);
        return;
    }
    if constexpr (ROWS > 1) multiply_tiles<W, ROWS - 1>(rows, tiles, x, ldx, tile, size, in, sums);
}

// For all of this thread's tiles and groups of rows: then(first row, rows, first output, outputs, sums). WIDE tiles belong
// together.
template <int WIDE, class W, class Then>
void gemm_of(const Team& team, const Linear& linear, const Input& x, int m, Then then) {
    const int tiles = (linear.out + TILE - 1) / TILE;
    const int64_t size = int64_t(linear.in + SIDE<W> - 1) / SIDE<W> * SIDE<W> * TILE;
    Sums sums[2];
    for (int t = team.from(tiles), step = 1; t < team.to(tiles); t += step) {
        if (WIDE == 1) step = 2 * m * VECTORS <= 8 && t + 1 < team.to(tiles) ? 2 : 1;
        const int taken = WIDE * step;
        for (int row = 0; row < m; row += MOST_ROWS) {
            const int rows = std::min(MOST_ROWS, m - row);
            multiply_tiles(rows, taken, x.x + row * x.ldx, x.ldx, (const W*)linear.weight + t * WIDE * size, size, linear.in, sums);
            for (int n = 0; n < taken && sizeof(W) == 1; n++)
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < TILE; j++) sums[n][i][j] *= linear.scale[(t * WIDE + n) * TILE + j];
            for (int n = 0; n < step; n++)
                then(row, rows, (t + n) * TILE, std::min(TILE, linear.out - (t + n) * TILE), sums + n);
        }
    }
}

}  // namespace
