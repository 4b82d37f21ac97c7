// Vectors as GNU vector extensions, so that one source serves AVX-512, AVX2 and NEON; numbers in fp32 and bf16.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace {

// The most rows are those whose sums, two vectors each, leave registers for two vectors of weights and one of inputs.
#if defined(__AVX512F__)
constexpr int LANES = 16, MOST_ROWS = 12;
#elif defined(__x86_64__) && !defined(__AVX__)
constexpr int LANES = 4, MOST_ROWS = 6;
#else
constexpr int LANES = 8, MOST_ROWS = 6;
#endif

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
inline float get(float x) { return x; }
inline float get(bf16 x) { uint32_t u = uint32_t(x) << 16; float f; std::memcpy(&f, &u, 4); return f; }
inline void put(float* p, float x) { *p = x; }
inline void put(bf16* p, float x) {  // to nearest, ties to even
    uint32_t u;
    std::memcpy(&u, &x, 4);
    *p = bf16(x != x ? 0x7fc0 : (u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
inline float hsum(V v) {
    float a[LANES];
    std::memcpy(a, &v, sizeof v);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) a[i] += a[i + half];
    return a[0];
}
inline V exp_of(V x) {  // e^x to about one unit in the last place; Cephes' polynomial
    x = x < -87.0f ? (V){} - 87.0f : x;
    x = x > 88.0f ? (V){} + 88.0f : x;
    V shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    V r = x - n * 0.693359375f + n * 2.12194440e-4f;
    V p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r + 1.6666665459e-1f) * r
          + 5.0000001201e-1f;
    V e = p * r * r + r + 1.0f;
    I bits, power;
    std::memcpy(&bits, &shifted, sizeof bits);
    std::memcpy(&power, &e, sizeof power);
    power += (bits - 0x4b400000) << 23;
    std::memcpy(&e, &power, sizeof e);
    return e;
}

// Two halves' sums of every lane group of 2 * HALF lanes, a's before b's.
template <int HALF, int... J>
inline V fold(V a, V b, std::integer_sequence<int, J...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, (J / HALF * 2 * HALF + J % HALF)...) +
           __builtin_shufflevector(a, b, (J / HALF * 2 * HALF + J % HALF + HALF)...);
#else
    return __builtin_shuffle(a, b, I{(J / HALF * 2 * HALF + J % HALF)...}) +
           __builtin_shuffle(a, b, I{(J / HALF * 2 * HALF + J % HALF + HALF)...});
#endif
}

// The totals of LANES vectors at once, each by the same additions as `total` makes.
template <int HALF = LANES / 2>
inline V hsum(const V* v) {
    constexpr std::make_integer_sequence<int, LANES> lanes{};
    if constexpr (HALF == LANES / 2) return fold<HALF>(v[0], v[1], lanes);
    else return fold<HALF>(hsum<HALF * 2>(v), hsum<HALF * 2>(v + LANES / 2 / HALF), lanes);
}

}  // namespace
