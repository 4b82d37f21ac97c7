// Weights as codes of 4 or 8 bits, with a scale for every GROUP inputs of an output: formats, and how rows of activations meet them.
//
// A tile is TILE outputs, block by block of GROUP inputs; two-level formats begin every SUPER blocks with numbers in fp16 that the
// scales of these blocks are multiples of. Each 32-bit lane holds four inputs of one output. Activations are either rounded to
// int8 with a scale for every GROUP of them, so that a block's sum is an integer and the same bits on every processor, or stay in
// fp32, where the numbers and the order of the sums are those of the weights in fp32.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gemm.h"
#include "model.h"
#include "simd.h"

namespace {

inline V half_to_float(const uint8_t* p) {  // LANES numbers in fp16
    Half h;
    std::memcpy(&h, p, sizeof h);
#if defined(__F16C__) && PACELINE_LANES == 8
    return _mm256_cvtph_ps((__m128i)h);
#elif defined(__AVX512F__) && PACELINE_LANES == 16
    return _mm512_cvtph_ps((__m256i)h);
#else
    const U wide = __builtin_convertvector(h, U), sign = (wide & 0x8000) << 16, rest = (wide & 0x7fff) << 13;
    V v;
    std::memcpy(&v, &rest, sizeof v);
    v *= 0x1p112f;
    U bits;
    std::memcpy(&bits, &v, sizeof v);
    bits |= sign;
    std::memcpy(&v, &bits, sizeof v);
    return v;
#endif
}

// LANES bytes as numbers, and whole numbers as bytes: GCC, left to convert half a register of bytes, takes them one by one.
template <class Byte>
inline V bytes_to_float(const uint8_t* p) {
#if defined(__AVX2__) && PACELINE_LANES == 8
    const __m128i bytes = _mm_loadl_epi64((const __m128i*)p);
    return _mm256_cvtepi32_ps(Byte(-1) < 0 ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes));
#else
    typedef Byte Bytes __attribute__((vector_size(LANES)));
    Bytes b;
    std::memcpy(&b, p, sizeof b);
    return __builtin_convertvector(__builtin_convertvector(b, I), V);
#endif
}

inline void store_bytes(int8_t* p, I numbers) {
#if defined(__AVX2__) && PACELINE_LANES == 8
    const __m256i n = (__m256i)numbers;
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
    _mm_storel_epi64((__m128i*)p, _mm_packs_epi16(halves, halves));
#else
    typedef int8_t Bytes __attribute__((vector_size(LANES)));
    const Bytes codes = __builtin_convertvector(numbers, Bytes);
    std::memcpy(p, &codes, sizeof codes);
#endif
}

// The sum as it is here: GCC, left to order integers, makes all products first and sums them in pairs, on the stack.
inline I kept(I sum) {
#if defined(__AVX512F__) || (defined(__AVX2__) && PACELINE_LANES == 8)
    __asm__("" : "+x"(sum));
#endif
    return sum;
}

// Codes 0 … MOST, or signed ones where MOST is 0, times signed codes of activations: four products are added in each lane.
template <int MOST>
struct Products {
#if defined(__AVX512VNNI__) && PACELINE_LANES == 16
    static I add(I acc, I w, I x) {
        return kept((I)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)(MOST ? w : w ^ int(0x80808080)), (__m512i)x));
    }
    static I total(I acc, float sum) { return MOST ? acc : acc - 128 * int(sum); }
#elif defined(__AVX512BW__) && PACELINE_LANES == 16
    static __m512i pairs(__m512i w, __m512i x) {
        if (MOST) return _mm512_maddubs_epi16(w, x);
        return _mm512_maddubs_epi16(_mm512_abs_epi8(w), _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x));
    }
    static I add(I acc, I w, I x) {
        const __m512i sums = pairs((__m512i)w, (__m512i)x);
        if (MOST == 15) return kept((I)_mm512_add_epi16((__m512i)acc, sums));
        return kept(acc + (I)_mm512_madd_epi16(sums, _mm512_set1_epi16(1)));
    }
    static I total(I acc, float) { return MOST == 15 ? (I)_mm512_madd_epi16((__m512i)acc, _mm512_set1_epi16(1)) : acc; }
#elif defined(__AVX2__) && PACELINE_LANES == 8
    static I add(I acc, I w, I x) {  // of small codes a whole block's sums fit 16 bits; |-128| does as an unsigned byte
        const __m256i sums = MOST ? _mm256_maddubs_epi16((__m256i)w, (__m256i)x)
                                  : _mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)w), _mm256_sign_epi8((__m256i)x, (__m256i)w));
        if (MOST == 15) return kept((I)_mm256_add_epi16((__m256i)acc, sums));
        return kept(acc + (I)_mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
    }
    static I total(I acc, float) { return MOST == 15 ? (I)_mm256_madd_epi16((__m256i)acc, _mm256_set1_epi16(1)) : acc; }
#elif defined(__ARM_FEATURE_DOTPROD) && PACELINE_LANES == 8
    static I add(I acc, I w, I x) {
        int32x4_t a[2];
        int8x16_t b[2], c[2];
        std::memcpy(a, &acc, sizeof a), std::memcpy(b, &w, sizeof b), std::memcpy(c, &x, sizeof c);
        for (int i = 0; i < 2; i++) a[i] = vdotq_s32(a[i], b[i], c[i]);
        std::memcpy(&acc, a, sizeof a);
        return acc;
    }
    static I total(I acc, float) { return acc; }
#else
    static I add(I acc, I w, I x) {
        for (int j = 0; j < 32; j += 8) acc += ((w << (24 - j)) >> 24) * ((x << (24 - j)) >> 24);
        return acc;
    }
    static I total(I acc, float) { return acc; }
#endif
};

inline I four(const int8_t* codes) {  // the same four of them in every lane
    int32_t word;
    std::memcpy(&word, codes, sizeof word);
    return kept(word - I{});
}

// A format. OFFSET: of a block's scales, behind its codes. `scale` and `minimum` are of the lanes from output `o` on: a weight is
// its code times scale plus minimum.
template <int BITS_, int MOST_, bool MINIMUM_, int HEAD_ = 0, int BYTES_ = 64 * (1 + MINIMUM_), int PARTS_ = 1>
struct Format {
    static constexpr int BITS = BITS_, MOST = MOST_, HEAD = HEAD_, SCALES = PARTS_, SUPER = HEAD ? 8 : 1;
    static constexpr bool MINIMUM = MINIMUM_;
    static constexpr int OFFSET = 32 * GROUP * BITS / 8, BYTES = OFFSET + BYTES_;

    static V scale(const uint8_t* head, const uint8_t* block, int o, int part = 0) {
        if constexpr (!HEAD) return half_to_float(block + OFFSET + 2 * o);
        else if constexpr (SCALES == 2) return half_to_float(head + 2 * o) * bytes_to_float<int8_t>(block + OFFSET + 32 * part + o);
        else return half_to_float(head + 2 * o) * bytes_to_float<uint8_t>(block + OFFSET + o);
    }
    static V minimum(const uint8_t* head, const uint8_t* block, int o) {
        if constexpr (!HEAD) return half_to_float(block + OFFSET + 64 + 2 * o);
        else return -(half_to_float(head + 64 + 2 * o) * bytes_to_float<uint8_t>(block + OFFSET + 32 + o));
    }
    // Codes of inputs 4 g … 4 g + 3 from output `o` on, in 32-bit lanes; four bits: the lower half of a block beside the upper.
    static I codes(const uint8_t* block, int o, int g) {
        I w;
        std::memcpy(&w, block + 4 * ((BITS == 4 ? g % 4 : g) * 32 + o), sizeof w);
        return BITS == 8 ? w : (g < 4 ? w : w >> 4) & 0x0f0f0f0f;
    }
    // Input 4 g + j alone.
    static V weight(V scale, V minimum, I codes, int j) {
        const V code = __builtin_convertvector(MOST ? (codes >> 8 * j) & 0xff : (codes << (24 - 8 * j)) >> 24, V);
        return MINIMUM ? madd(code, scale, minimum) : code * scale;
    }
    static int64_t tile_bytes(int in) { return int64_t(in) / (GROUP * SUPER) * (HEAD + SUPER * BYTES); }

    // work(block's number, head of its super-block, block) for the blocks of a tile.
    template <class Work>
    static void each_block(const uint8_t* at, int in, Work work) {
        for (int b = 0; b < in / GROUP;) {
            const uint8_t* head = at;
            at += HEAD;
            for (int i = 0; i < SUPER; i++, b++, at += BYTES) work(b, head, at);
        }
    }
};

typedef Format<4, 15, true> U4;
typedef Format<4, 15, true, 128, 64> U4TwoLevel;
typedef Format<8, 0, false> I8;
typedef Format<8, 31, true> I8Minimum;
typedef Format<8, 31, true, 128, 64> I8TwoLevel;
typedef Format<8, 0, false, 64, 64, 2> I8Sixteen;  // a scale for every 16 inputs

// work(a format's type) for the kind of a linear.
template <class Work>
void with_format(int32_t kind, Work work) {
    if (kind == KIND_U4) work(U4{});
    else if (kind == KIND_U4_TWO_LEVEL) work(U4TwoLevel{});
    else if (kind == KIND_I8) work(I8{});
    else if (kind == KIND_I8_MINIMUM) work(I8Minimum{});
    else if (kind == KIND_I8_TWO_LEVEL) work(I8TwoLevel{});
    else work(I8Sixteen{});
}

// n numbers to codes, n a multiple of GROUP.
void round_row(const float* x, int n, Rounded* to) {
    for (; n > 0; n -= GROUP, x += GROUP, to++) {
        V most = {};
        for (int i = 0; i < GROUP; i += LANES) {
            const V v = load(x + i), size = v < 0 ? -v : v;
            most = size > most ? size : most;
        }
        float top = 0;
        for (int i = 0; i < LANES; i++) top = std::max(top, most[i]);
        to->scale = std::max(top, 1e-30f) / 127;
        const float inverse = 1 / to->scale;
        I sums[2] = {};  // of either half
        for (int i = 0; i < GROUP; i += LANES) {
            const V shifted = load(x + i) * inverse + 12582912.0f;  // to the nearest whole number, which is in the lowest bits
            I bits;
            std::memcpy(&bits, &shifted, sizeof bits);
            bits -= 0x4b400000;
            sums[2 * i / GROUP] += bits;
            store_bytes(to->codes + i, bits);
        }
        int32_t first = 0, second = 0;
        for (int i = 0; i < LANES; i++) first += sums[0][i], second += sums[1][i];
        to->first = float(first), to->sum = float(first + second);
    }
}

// sums[m][TILE] = x[m] . tile for ROWS rounded rows: whole numbers in a block, which its scales turn into fp32, block by block.
template <class F, int ROWS>
void multiply_rounded(const Rounded* x, int64_t ldx, const uint8_t* tile, int in, Sums& sums) {
    constexpr int P = ROWS <= 4 && VECTORS > 1 ? 2 : 1, GROUPS = GROUP / 4 / F::SCALES;  // vectors whose sums fit the registers
    V acc[VECTORS][ROWS] = {};
    F::each_block(tile, in, [&](int b, const uint8_t* head, const uint8_t* block) {
        prefetch<F::BYTES>((const char*)block + PREFETCH);
        const Rounded* rows[ROWS];
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++) rows[m] = x + m * ldx + b;
#pragma GCC unroll 1
        for (int first = 0; first < VECTORS; first += P) {
            V parts[P][ROWS];
#pragma GCC unroll 12
            for (int m = 0; m < ROWS; m++) rows[m] = in_turn(rows[m]);
#pragma GCC unroll 2
            for (int part = 0; part < F::SCALES; part++) {
                I dots[P][ROWS] = {};
#pragma GCC unroll 8
                for (int i = 0; i < GROUPS; i++) {
                    const int g = part * GROUPS + (F::BITS == 4 ? i / 2 + i % 2 * 4 : i);  // both halves of a byte in turn
                    I w[P];
#pragma GCC unroll 2
                    for (int p = 0; p < P; p++) w[p] = F::codes(block, (first + p) * LANES, g);
#pragma GCC unroll 12
                    for (int m = 0; m < ROWS; m++) {
                        const I codes = four(rows[m]->codes + 4 * g);
#pragma GCC unroll 2
                        for (int p = 0; p < P; p++) dots[p][m] = Products<F::MOST>::add(dots[p][m], w[p], codes);
                    }
                }
#pragma GCC unroll 2
                for (int p = 0; p < P; p++) {
                    const V scale = F::scale(head, block, (first + p) * LANES, part);
#pragma GCC unroll 12
                    for (int m = 0; m < ROWS; m++) {
                        const float sum = rows[m]->sum_of(part, F::SCALES);
                        const V dot = __builtin_convertvector(Products<F::MOST>::total(dots[p][m], sum), V);
                        parts[p][m] = part ? madd(dot, scale, parts[p][m]) : dot * scale;
                    }
                }
            }
#pragma GCC unroll 2
            for (int p = 0; p < P; p++) {
                const V minimum = F::MINIMUM ? F::minimum(head, block, (first + p) * LANES) : V{};
#pragma GCC unroll 12
                for (int m = 0; m < ROWS; m++) {
                    if (F::MINIMUM) parts[p][m] = madd(minimum, splat(rows[m]->sum), parts[p][m]);
                    acc[first + p][m] = madd(parts[p][m], splat(rows[m]->scale), acc[first + p][m]);
                }
            }
        }
    });
    for (int m = 0; m < ROWS; m++)
        for (int p = 0; p < VECTORS; p++) store(sums[m] + p * LANES, acc[p][m]);
}

// The same for rows in fp32: the products and the order of `multiply` on the weights in fp32.
template <class F, int ROWS>
void multiply_wide(const float* x, int64_t ldx, const uint8_t* tile, int in, Sums& sums) {
    constexpr int P = std::min(VECTORS, ROWS <= 2 ? 4 : 2), GROUPS = GROUP / 4 / F::SCALES;
    V acc[VECTORS][ROWS] = {};
    F::each_block(tile, in, [&](int b, const uint8_t* head, const uint8_t* block) {
        prefetch<F::BYTES>((const char*)block + PREFETCH);
        for (int first = 0; first < VECTORS; first += P) {
            V part[P][ROWS], minimum[P], scale[P];
            std::memcpy(part, acc + first, sizeof part);
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) minimum[p] = F::MINIMUM ? F::minimum(head, block, (first + p) * LANES) : V{};
            for (int g = 0; g < GROUP / 4; g++) {
                if (g % GROUPS == 0)
#pragma GCC unroll 4
                    for (int p = 0; p < P; p++) scale[p] = F::scale(head, block, (first + p) * LANES, g / GROUPS);
                const float* rows[ROWS];
#pragma GCC unroll 12
                for (int m = 0; m < ROWS; m++) rows[m] = in_turn(x + m * ldx + b * GROUP + 4 * g);
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++) {
                    V w[P];
#pragma GCC unroll 4
                    for (int p = 0; p < P; p++)
                        w[p] = F::weight(scale[p], minimum[p], F::codes(block, (first + p) * LANES, g), j);
#pragma GCC unroll 12
                    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 4
                        for (int p = 0; p < P; p++) part[p][m] = madd(w[p], splat(rows[m][j]), part[p][m]);
                }
            }
            std::memcpy(acc + first, part, sizeof part);
        }
    });
    for (int m = 0; m < ROWS; m++)
        for (int p = 0; p < VECTORS; p++) store(sums[m] + p * LANES, acc[p][m]);
}

// Output `o` of a linear as numbers [in]: a row of an embedding.
template <class F>
void look_up(const uint8_t* tiles, int in, int64_t o, float* out) {
    const int from = o % TILE / LANES * LANES, lane = o % LANES;
    F::each_block(tiles + o / TILE * F::tile_bytes(in), in, [&](int b, const uint8_t* head, const uint8_t* block) {
        const V minimum = F::MINIMUM ? F::minimum(head, block, from) : V{};
        for (int k = 0; k < GROUP; k++) {
            const V scale = F::scale(head, block, from, k * F::SCALES / GROUP);
            out[b * GROUP + k] = F::weight(scale, minimum, F::codes(block, from, k / 4), k % 4)[lane];
        }
    });
}

template <class F, int ROWS = MOST_ROWS>
void multiply_block_tile(int rows, const Input& x, int row, const uint8_t* tile, const Linear& linear, Sums& sums) {
    if (rows == ROWS) {
        if (linear.integer) return multiply_rounded<F, ROWS>(x.codes + row * x.ldc, x.ldc, tile, linear.in, sums);
        return multiply_wide<F, ROWS>(x.x + row * x.ldx, x.ldx, tile, linear.in, sums);
    }
    if constexpr (ROWS > 1) multiply_block_tile<F, ROWS - 1>(rows, x, row, tile, linear, sums);
}

// As `gemm_of`, for weights in blocks.
template <int WIDE, class F, class Then>
void gemm_of_blocks(const Team& team, const Linear& linear, const Input& x, int m, Then then) {
    const int tiles = (linear.out + TILE - 1) / TILE;
    const int64_t size = F::tile_bytes(linear.in);
    Sums sums[WIDE];
    for (int t = team.from(tiles); t < team.to(tiles); t++)
        for (int row = 0; row < m; row += MOST_ROWS) {
            const int rows = std::min(MOST_ROWS, m - row);
            for (int n = 0; n < WIDE; n++)
                multiply_block_tile<F>(rows, x, row, (const uint8_t*)linear.weight + (t * WIDE + n) * size, linear, sums[n]);
            then(row, rows, t * TILE, std::min(TILE, linear.out - t * TILE), sums);
        }
}

}  // namespace
