// Vectors as GNU vector extensions, so that one source serves AVX-512, AVX2 and NEON; numbers in fp32 and bf16.
//
// Whatever the vectors' size, a number is made by the same operations in the same order, so that builds write the same bits: a
// sum over lanes is PARTIALS sums of every sixteenth number, then joined in halves; multiply-adds that round once are written out
// (`madd`), and the compiler is told to make no others; e^x is our own. Only x86-64 without FMA (`portable`) has last bits of its
// own, since it rounds every product: to round once would cost it a function call for each number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if !defined(PACELINE_LANES)  // given by a test only, which plays one processor's layout on another
#if defined(__AVX512F__)
#define PACELINE_LANES 16
#elif defined(__x86_64__) && !defined(__AVX__)
#define PACELINE_LANES 4
#else
#define PACELINE_LANES 8
#endif
#endif

namespace {

constexpr int LANES = PACELINE_LANES;
constexpr int PARTIALS = 16, PARTS = PARTIALS / LANES;  // partial sums, and the vectors that hold them

typedef float V __attribute__((vector_size(4 * LANES)));
typedef uint32_t U __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef uint16_t Half __attribute__((vector_size(2 * LANES)));
typedef uint16_t bf16;

inline V load(const float* p) { V v; std::memcpy(&v, p, sizeof v); return v; }
inline V load(const bf16* p) {
    Half h;
    std::memcpy(&h, p, sizeof h);
    U wide = __builtin_convertvector(h, U) << 16;
    V v;
    std::memcpy(&v, &wide, sizeof v);
    return v;
}
inline void store(float* p, V v) { std::memcpy(p, &v, sizeof v); }
inline V splat(float x) { return x - V{}; }  // x - 0 is x, whatever its sign
inline float get(float x) { return x; }
inline float get(bf16 x) { uint32_t u = uint32_t(x) << 16; float f; std::memcpy(&f, &u, 4); return f; }
inline void put(float* p, float x) { *p = x; }
inline void put(bf16* p, float x) {  // to nearest, ties to even
    uint32_t u;
    std::memcpy(&u, &x, 4);
    *p = bf16(x != x ? 0x7fc0 : (u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

// a b + c, rounded once where the processor has such an operation.
inline V madd(V a, V b, V c) {
#if defined(__AVX512F__) && PACELINE_LANES == 16
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__) && PACELINE_LANES == 8
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;  // one operation by -ffp-contract=fast
#endif
}
inline float madd(float a, float b, float c) {
#if defined(__x86_64__) && !defined(__FMA__)
    return a * b + c;
#else
    return __builtin_fmaf(a, b, c);
#endif
}

inline V exp_of(V x) {  // e^x to about one unit in the last place; Cephes' polynomial
    x = x < -87.0f ? splat(-87.0f) : x;
    x = x > 88.0f ? splat(88.0f) : x;
    const V shifted = madd(x, splat(1.44269504f), splat(12582912.0f)), n = shifted - 12582912.0f;
    const V r = madd(n, splat(2.12194440e-4f), madd(n, splat(-0.693359375f), x));
    V p = splat(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        p = madd(p, r, splat(c));
    V e = madd(p * r, r, r) + 1.0f;
    I bits, power;
    std::memcpy(&bits, &shifted, sizeof bits);
    std::memcpy(&power, &e, sizeof power);
    power += (bits - 0x4b400000) << 23;
    std::memcpy(&e, &power, sizeof e);
    return e;
}
inline float exp_of(float x) { return exp_of(splat(x))[0]; }

// One vector of what PARTS hold: the upper half is added to the lower one, again and again, as `hsum` does with lanes.
inline V joined(const V* parts) {
    V v[PARTS];
    std::copy_n(parts, PARTS, v);
    for (int half = PARTS / 2; half; half /= 2)
        for (int i = 0; i < half; i++) v[i] += v[i + half];
    return v[0];
}

inline float hsum(V v) {
    float a[LANES];
    store(a, v);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) a[i] += a[i + half];
    return a[0];
}

// W's in 32 bits; of smaller numbers two inputs' bf16, or four inputs' int8, stand side by side there, so that each costs an
// operation or two to widen.
template <class W>
constexpr int SIDE = 4 / sizeof(W);

template <class W, int ONE>
inline V widened(const void* at) {
    U bits;
    std::memcpy(&bits, at, sizeof bits);
    if constexpr (sizeof(W) == 1) return __builtin_convertvector((I)(bits << (24 - 8 * ONE)) >> 24, V);
    if constexpr (sizeof(W) == 2) bits = ONE ? bits & 0xffff0000u : bits << 16;
    V v;
    std::memcpy(&v, &bits, sizeof v);
    return v;
}

// Where lanes of the first vector that `mix` makes come from, among a's and then b's; those of the second are HALF further.
// Blocks of HALF lanes change places across the diagonal; where HALF is 2, a and b alternate within each group of four.
constexpr int mixed(int half, int lane) {
    if (half >= 4) return lane & half ? LANES + lane - half : lane;
    return lane % 2 * LANES + lane / 4 * 4 + lane % 4 / 2;
}

template <int HALF, int... J>
inline void mix(V a, V b, V& first, V& second, std::integer_sequence<int, J...>) {
#if defined(__clang__) || __GNUC__ >= 12
    first = __builtin_shufflevector(a, b, mixed(HALF, J)...), second = __builtin_shufflevector(a, b, (mixed(HALF, J) + HALF)...);
#else
    first = __builtin_shuffle(a, b, I{mixed(HALF, J)...}), second = __builtin_shuffle(a, b, I{(mixed(HALF, J) + HALF)...});
#endif
}

template <int HALF>
inline void mix(V a, V b, V& first, V& second) {
    mix<HALF>(a, b, first, second, std::make_integer_sequence<int, LANES>{});
}

// Lane j of vector i becomes lane i of vector j, of LANES vectors. Lanes move far in whole groups of four only, which is cheaper.
template <int HALF = LANES / 2>
inline void turn(V* v) {
    if constexpr (HALF >= 4) {
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            if (!(i & HALF)) mix<HALF>(v[i], v[i + HALF], v[i], v[i + HALF]);
        turn<HALF / 2>(v);
    } else {
#pragma GCC unroll 8
        for (int i = 0; i < 2 * LANES; i += 4) {  // two alternations turn a group of four
            V* group = v + i % LANES;
            const V b = group[1];
            mix<2>(group[0], group[2], group[0], group[1]);
            mix<2>(b, group[3], group[2], group[3]);
        }
    }
}

inline float dot(const float* x, const float* y, int n) {
    V sums[PARTS] = {};
    const auto add = [&](const float* a, const float* b) {
        for (int p = 0; p < PARTS; p++) sums[p] = madd(load(a + p * LANES), load(b + p * LANES), sums[p]);
    };
    int i = 0;
    for (; i + PARTIALS <= n; i += PARTIALS) add(x + i, y + i);
    if (i < n) {
        float a[PARTIALS] = {}, b[PARTIALS] = {};
        std::copy(x + i, x + n, a);
        std::copy(y + i, y + n, b);
        add(a, b);
    }
    return hsum(joined(sums));
}

}  // namespace
