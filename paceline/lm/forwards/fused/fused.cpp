// A decoder forward for llama-type layers on a CPU: from token ids to logits in one call, by one team of threads.
//
// Every number is meant to be made by one fixed sequence of operations that depends on its own token's prefix alone: a linear's output is
// summed over its inputs in order, a query's keys are taken in the order of the text, wherever they lie. So a token's logits are
// the same bits whether it is decoded alone, verified in a chain or a tree, or batched with other rows. Vectors are GNU vector
// extensions, so the same source serves AVX-512, AVX2 and NEON. Activations and sums are fp32; a linear's weights may be bf16
// whatever the cache is, since fp32 weights that came from a bf16 checkpoint lose nothing by it, or bytes, for drafting models.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <omp.h>
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
constexpr int TILE = 32, PARTS = TILE / LANES;  // outputs of a linear that lie together
constexpr int BLOCK = 128;                      // inputs that are gone through together, so that their weights stay in cache
constexpr int64_t AHEAD = 8192;                 // bytes of weights fetched in advance
constexpr int KEYS = 64, QUERIES = 32;          // keys and tokens that attention takes together, to stay in cache

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
inline float total(V v) {
    float a[LANES];
    std::memcpy(a, &v, sizeof v);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) a[i] += a[i + half];
    return a[0];
}
inline V exponential(V x) {  // e^x to about one unit in the last place; Cephes' polynomial
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

}  // namespace

// Every object of the library is this source, compiled for one kind of processor, which names what it offers.
#define JOINED(name, path) name##_##path
#define NAMED(name, path) JOINED(name, path)
#define OFFERED(name) NAMED(name, PACELINE_PATH)

extern "C" {

enum Kind : int32_t { FLOATS, HALVES, BYTES };

struct Linear {
    const void* weight;  // tiles [ceil(out / TILE)][in][TILE]; of halves [..][ceil(in / 2)][TILE][2], of bytes [..][ceil(in / 4)][TILE][4]
    const float* scale;  // of bytes: what an output's weights are multiples of, over 2^24, [tiles][TILE]; null for the others
    const float* bias;   // [out] or null
    int32_t out, in, kind;
};

struct Layer {
    Linear qkv, o, gate_up, down;  // gate_up: tiles of gate and up in turn; `out` counts one of them
    Linear cross_q, cross_o;       // attention over another model's keys, after the layer's own; `in` 0 = none
    const float *before_attention, *after_attention, *before_cross, *before_mlp, *after_mlp;  // norms [width], or null
    const float *q_norm, *k_norm, *cross_norm;
    int32_t window, norm_heads;  // window 0 = none; norm_heads: q_norm and k_norm are [D], each head by itself
    float scale, cross_scale, eps;
};

struct Model {
    const Layer* layers;
    const void* embedding;  // [V, width]
    const float *norm, *cos, *sin;  // [width] or null, [positions, D]; the sine's first half is negated
    const float *cross_cos, *cross_sin;
    Linear head;
    int32_t cross_heads, cross_kv_heads, cross_dim;
    int32_t count, width, heads, kv_heads, dim, ffn, half;  // ffn: the widest; half: embedding, cache and logits are bf16
    float eps;
};

struct Row {
    int32_t slot, start, dropped;      // its slot; how many keys are committed there; how many before them are not held
    int32_t read_slot, read_length;    // of the other model's cache, where layers read one: its slot there, and the keys that it holds
};

struct Call {
    const int64_t* tokens;    // [count, width] ids
    const Row* rows;          // [count]
    const int32_t* parents;   // [count, width], of each token among its row's, -1 = what is committed; null: every row is a chain
    const int32_t* wanted;    // tokens whose logits are wanted, `l` of them; null: all
    void* const* cache;       // per layer [2, slots, kv_heads, capacity, D]
    void* const* read_cache;  // or null
    float* queries;           // [layers, count * width, heads * D]: receives what every token asks, rotated and scaled; or null
    void* logits;             // [l, V] in the weights' dtype
    int64_t kv_stride, slot_stride, head_stride, read_kv_stride, read_slot_stride, read_head_stride;
    int32_t count, width, l;
    int32_t last, positions, known;  // a chain's padding has this position at most; how many positions and ids there are
    int32_t threads;
};

enum Fault : int32_t { NONE, UNKNOWN_ID, TOO_LONG, NO_MEMORY, NO_TREE };

int64_t OFFERED(size_of)(int32_t what);  // of Layer, Model and Call in bytes, for whoever describes them in another language
int32_t OFFERED(forward)(const Model* model, const Call* call);  // a Fault, found before anything is written
int32_t OFFERED(extend)(const Model* model, const Call* call, int32_t steps, float least, float price, const float* odds, int32_t bins,
                        int32_t top, int32_t* likely, float* shares);
}

namespace {

struct Batch {  // a call, token by token: M of them
    const int32_t *token, *position, *dropped, *slot, *place, *end, *paths, *path_start;
    // dropped: how far its position is beyond its place among its slot's keys.
    // place: where its key goes in its slot; it sees keys [0, end) and then those at paths[path_start[m] .. path_start[m + 1])
    const int32_t *read_slot, *read_end;  // of the other model's cache
    const int32_t* wanted;
    void* const* cache;
    void* const* read_cache;
    float *work, *queries;
    void* logits;
    int64_t kv_stride, slot_stride, head_stride, read_kv_stride, read_slot_stride, read_head_stride;
    int32_t m, l, most_keys, threads;
};

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

template <int BYTES>
inline void fetch(const char* ahead) {  // towards the caches; the hardware's own prefetching reaches half of the memory's rate
#pragma GCC unroll 4
    for (int64_t line = 0; line < BYTES; line += 64) __builtin_prefetch(ahead + line, 0, 1);
}

// W's in 32 bits; of smaller numbers two inputs' halves, or four inputs' bytes, stand side by side there, so that each costs an operation
// or two to widen. A byte is taken as the highest one of an integer, so what is made of it is 2^24 times as large.
template <class W>
constexpr int SIDE = 4 / sizeof(W);

template <class W, int ONE>
inline V widened(const W* at) {
    U bits;
    std::memcpy(&bits, at, sizeof bits);
    constexpr int BITS = 8 * sizeof(W), SHIFT = 32 - BITS - ONE * BITS;
    if constexpr (SHIFT > 0) bits <<= SHIFT;
    if constexpr (sizeof(W) < 4 && SHIFT < 32 - BITS) bits &= 0xffffffffu << (32 - BITS);
    V v;
    if constexpr (sizeof(W) == 1) v = __builtin_convertvector((I)bits, V);
    else std::memcpy(&v, &bits, sizeof v);
    return v;
}

// A sum, in a register here and now: of weights that are widened, GCC loads more than it has room for, and moves sums to the stack.
template <class W>
inline V in_register(V v) {
#if defined(__AVX512F__)
    if constexpr (sizeof(W) < 4) __asm__("" : "+v"(v));
#elif defined(__AVX__)
    if constexpr (sizeof(W) < 4) __asm__("" : "+x"(v));
#endif
    return v;
}

// Inputs k + ONE of ROWS rows times P vectors of weights of TILES tiles, `size` apart.
template <int ROWS, int TILES, int P, int ONE, class W>
inline void add_input(V (&acc)[TILES][ROWS][P], const float* x, int64_t ldx, const W* weights, int64_t size) {
#pragma GCC unroll 2
    for (int n = 0; n < TILES; n++) {
        const W* tile = weights + n * size;
        if constexpr (ROWS < P) {  // the fewer of inputs and weights wait in registers
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                const V w = widened<W, ONE>(tile + SIDE<W> * p * LANES);
#pragma GCC unroll 8
                for (int m = 0; m < ROWS; m++) acc[n][m][p] = in_register<W>(acc[n][m][p] + w * x[m * ldx + ONE]);
            }
        } else {
            V w[P];
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) w[p] = widened<W, ONE>(tile + SIDE<W> * p * LANES);
#pragma GCC unroll 12
            for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
                for (int p = 0; p < P; p++) acc[n][m][p] = in_register<W>(acc[n][m][p] + w[p] * x[m * ldx + ONE]);
        }
    }
}

// sums[n][m][..] += x[m] . tile n over inputs [from, to), for P vectors of each tile's outputs; in order, in registers throughout:
// every loop over rows, tiles and vectors is unrolled whole, or the compiler would keep the sums on the stack.
template <int ROWS, int TILES, int P, class W>
void multiply(const float* x, int64_t ldx, const W* weights, int64_t size, int from, int to, Sums* sums, int first) {
    V acc[TILES][ROWS][P];
#pragma GCC unroll 2
    for (int n = 0; n < TILES; n++)
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) acc[n][m][p] = from ? load(sums[n][m] + first + p * LANES) : V{};
    int k = from;
    const W* row = weights + int64_t(k) * TILE + SIDE<W> * first;
    const char* ahead = (const char*)(row - SIDE<W> * first) + AHEAD + int64_t(to - from) * sizeof(W) * first;  // line by line, whatever P
    for (; k + SIDE<W> <= to; k += SIDE<W>, row += SIDE<W> * TILE, ahead += P * LANES * 4) {
#pragma GCC unroll 2
        for (int n = 0; n < TILES; n++) fetch<P * LANES * 4>(ahead + n * size * sizeof(W));
        add_input<ROWS, TILES, P, 0>(acc, x + k, ldx, row, size);
        if constexpr (SIDE<W> > 1) add_input<ROWS, TILES, P, 1>(acc, x + k, ldx, row, size);
        if constexpr (SIDE<W> > 2) add_input<ROWS, TILES, P, 2>(acc, x + k, ldx, row, size);
        if constexpr (SIDE<W> > 2) add_input<ROWS, TILES, P, 3>(acc, x + k, ldx, row, size);
    }
    if constexpr (SIDE<W> > 1) {
        if (k < to) add_input<ROWS, TILES, P, 0>(acc, x + k, ldx, row, size);
        if constexpr (SIDE<W> > 2) {
            if (k + 1 < to) add_input<ROWS, TILES, P, 1>(acc, x + k, ldx, row, size);
            if (k + 2 < to) add_input<ROWS, TILES, P, 2>(acc, x + k, ldx, row, size);
        }
    }
#pragma GCC unroll 2
    for (int n = 0; n < TILES; n++)
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) store(sums[n][m] + first + p * LANES, acc[n][m][p]);
}

// sums[n][m][TILE] = x[m] . tile n, for `rows` rows and `tiles` tiles. A few rows take whole tiles, and one of them two tiles: each alone
// would wait for its own sums. More rows take two vectors of a tile at a time, of a block of inputs, so that the others stay in cache.
template <class W, int ROWS = MOST_ROWS>
void multiply_rows(int rows, int tiles, const float* x, int64_t ldx, const W* tile, int64_t size, int in, Sums* sums) {
    constexpr int P = ROWS * PARTS <= 12 ? PARTS : 2;
    if (rows == ROWS) {
        if constexpr (2 * ROWS * PARTS <= 8)
            if (tiles == 2) return multiply<ROWS, 2, P>(x, ldx, tile, size, 0, in, sums, 0);
        for (int n = 0; n < tiles; n++)
            for (int from = 0; from < in; from += P < PARTS ? BLOCK : in)
                for (int first = 0; first < TILE; first += P * LANES)
                    multiply<ROWS, 1, P>(x, ldx, tile + n * size, size, from, P < PARTS ? std::min(in, from + BLOCK) : in, sums + n, first);
        return;
    }
    if constexpr (ROWS > 1) multiply_rows<W, ROWS - 1>(rows, tiles, x, ldx, tile, size, in, sums);
}

// For all of this thread's tiles and groups of rows: then(first row, rows, first output, outputs, sums). WIDE tiles belong together.
template <int WIDE, class W, class Then>
void apply_to(const Team& team, const Linear& linear, const float* x, int64_t ldx, int m, Then then) {
    const int tiles = (linear.out + TILE - 1) / TILE;
    const int64_t size = int64_t(linear.in + SIDE<W> - 1) / SIDE<W> * SIDE<W> * TILE;
    Sums sums[2];
    for (int t = team.from(tiles), step = 1; t < team.to(tiles); t += step) {
        if (WIDE == 1) step = 2 * m * PARTS <= 8 && t + 1 < team.to(tiles) ? 2 : 1;
        const int taken = WIDE * step;
        for (int row = 0; row < m; row += MOST_ROWS) {
            const int rows = std::min(MOST_ROWS, m - row);
            multiply_rows(rows, taken, x + row * ldx, ldx, (const W*)linear.weight + t * WIDE * size, size, linear.in, sums);
            for (int n = 0; n < taken && sizeof(W) == 1; n++)
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < TILE; j++) sums[n][i][j] *= linear.scale[(t * WIDE + n) * TILE + j];
            for (int n = 0; n < step; n++)
                then(row, rows, (t + n) * TILE, std::min(TILE, linear.out - (t + n) * TILE), sums + n);
        }
    }
}

template <int WIDE = 1, class Then>
void apply(const Team& team, const Linear& linear, const float* x, int64_t ldx, int m, Then then) {
    if (linear.kind == BYTES) apply_to<WIDE, int8_t>(team, linear, x, ldx, m, then);
    else if (linear.kind == HALVES) apply_to<WIDE, bf16>(team, linear, x, ldx, m, then);
    else apply_to<WIDE, float>(team, linear, x, ldx, m, then);
}

void linear_into(const Team& team, const Linear& linear, const float* x, int64_t ldx, int m, float* y, int64_t ldy, bool add) {
    apply(team, linear, x, ldx, m, [&](int row, int rows, int first, int n, const Sums* sums) {
        for (int i = 0; i < rows; i++) {
            float* out = y + (row + i) * ldy + first;
            for (int j = 0; j < n; j++) {
                float v = (*sums)[i][j] + (linear.bias ? linear.bias[first + j] : 0.0f);
                out[j] = add ? out[j] + v : v;
            }
        }
    });
}

// y = x / rms(x) * weight, over n numbers.
void normalise(const float* x, const float* weight, int n, float eps, float* y) {
    V squares = {};
    int i = 0;
    for (; i + LANES <= n; i += LANES) squares += load(x + i) * load(x + i);
    float sum = total(squares);
    for (; i < n; i++) sum += x[i] * x[i];
    const float scale = 1.0f / std::sqrt(sum / n + eps);
    for (i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}

// Rotated in place: x cos + (halves swapped) sin.
void rotate(float* x, const float* cos, const float* sin, int d, float scale) {
    for (int i = 0; i < d / 2; i++) {
        const float a = x[i], b = x[i + d / 2];
        x[i] = (a * cos[i] + b * sin[i]) * scale;
        x[i + d / 2] = (b * cos[i + d / 2] + a * sin[i + d / 2]) * scale;
    }
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
inline V totals(const V* v) {
    constexpr std::make_integer_sequence<int, LANES> lanes{};
    if constexpr (HALF == LANES / 2) return fold<HALF>(v[0], v[1], lanes);
    else return fold<HALF>(totals<HALF * 2>(v), totals<HALF * 2>(v + LANES / 2 / HALF), lanes);
}

// How R queries meet keys, and their weights meet values: with ND vectors to a head, or (ND = 0) for any size. `row(k)` is the k-th key
// or value, loaded once for all R. PACK of them meet values together, HELD vectors of a head at a time, so that the sums stay in registers.
template <int ND>
struct Meet {
    static constexpr int HELD = ND % 4 == 0 ? 4 : ND % 5 == 0 ? 5 : ND % 3 == 0 ? 3 : ND;
    static constexpr int PACK = std::min(4, (LANES == 16 ? 24 : 12) / HELD), PAIR = 2;

    template <int R, class Row>
    static void scores(const float* const* q, Row row, int, int n, float* const* out) {
        constexpr int K = LANES / R;  // keys together; a sum does not depend on how many there are
        for (int first = 0; first < n; first += K) {
            V acc[LANES] = {};
            const float* keys[K];
            for (int k = 0; k < K; k++) keys[k] = row(std::min(first + k, n - 1));
#pragma GCC unroll 4
            for (int i = 0; i < ND; i++)
#pragma GCC unroll 16
                for (int k = 0; k < K; k++) {
                    const V key = load(keys[k] + i * LANES);
#pragma GCC unroll 2
                    for (int r = 0; r < R; r++) acc[r * K + k] += load(q[r] + i * LANES) * key;
                }
            float sums[LANES];
            store(sums, totals<1>(acc));
            for (int r = 0; r < R; r++) std::copy_n(sums + r * K, std::min(K, n - first), out[r] + first);
        }
    }

    template <int R, class Row>
    static void add(const float* const* weights, Row row, int, int n, float* const* out) {
        for (int base = 0; base < ND * LANES; base += HELD * LANES) {
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
                    for (int r = 0; r < R; r++) acc[r][i] += v * weights[r][k];
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
struct Meet<0> {
    static constexpr int PACK = 1, PAIR = 1;

    template <int R, class Row>
    static void scores(const float* const* q, Row row, int d, int n, float* const* out) {
        for (int k = 0; k < n; k++) {
            out[0][k] = 0;
            for (int i = 0; i < d; i++) out[0][k] += q[0][i] * row(k)[i];
        }
    }

    template <int R, class Row>
    static void add(const float* const* weights, Row row, int d, int n, float* const* out) {
        for (int k = 0; k < n; k++)
            for (int i = 0; i < d; i++) out[0][i] += weights[0][k] * row(k)[i];
    }
};

// Scores to weights in place (padded to whole vectors); returns their sum.
float soften(float* scores, int n) {
    const int whole = (n + LANES - 1) / LANES * LANES;
    std::fill(scores + n, scores + whole, -INFINITY);
    V most = V{} - INFINITY;
    for (int i = 0; i < whole; i += LANES) {
        const V s = load(scores + i);
        most = s > most ? s : most;
    }
    float top = -INFINITY;
    for (int i = 0; i < LANES; i++) top = std::max(top, most[i]);
    V sum = {};
    for (int i = 0; i < whole; i += LANES) {
        V e = load(scores + i) - top;
        e = e > -80.0f ? exponential(e) : (V){};
        store(scores + i, e);
        sum += e;
    }
    return total(sum);
}

struct View {  // what tokens attend to: heads, a cache, and which of its keys each token sees
    int heads, kv_heads, dim, window, most_keys;
    const void* cache;
    int64_t kv_stride, slot_stride, head_stride;
    const int32_t *position, *dropped, *slot, *end, *paths, *path_start;  // paths null: no more than [0, end)
};

struct Seen {  // keys of one token, in the order of the text: [from, end), then a path of `extra` places
    int from, end, extra;
    const int32_t* path;
};

Seen seen(const View& v, int m) {
    const int oldest = v.window ? std::max(0, v.position[m] - v.dropped[m] - v.window + 1) : 0, from = std::min(oldest, v.end[m]);
    if (!v.paths) return {from, v.end[m], 0, nullptr};
    const int32_t *path = v.paths + v.path_start[m], *stop = v.paths + v.path_start[m + 1];
    const int skipped = std::min(int(stop - path), std::max(0, oldest - v.end[m]));
    return {from, v.end[m], int(stop - path) - skipped, path + skipped};
}

// A block of rows in fp32: itself, or widened into `room`.
inline const float* block_of(const float* rows, int64_t, float*) { return rows; }
inline const float* block_of(const bf16* rows, int64_t count, float* room) {
    for (int64_t i = 0; i < count; i++) room[i] = get(rows[i]);
    return room;
}

// Attention of up to QUERIES tokens of one slot under one key head; key blocks outside, so that they are read once.
// room: floats for a block of keys.
template <int ND, class C>
void attend(const View& view, int h, int first, int rows, const float* q, int64_t ldq, float* out, int64_t ldo, float* scores,
            float* room) {
    typedef Meet<ND> Heads;
    const int d = ND ? ND * LANES : view.dim, groups = view.heads / view.kv_heads, queries = rows * groups;
    const C* keys = (const C*)view.cache + view.slot[first] * view.slot_stride + h * view.head_stride;
    const C* values = keys + view.kv_stride;
    Seen see[QUERIES];
    int last = 0, oldest = INT32_MAX;
    for (int i = 0; i < rows; i++) {
        see[i] = seen(view, first + i);
        last = std::max(last, see[i].end);
        oldest = std::min(oldest, see[i].from);
    }
    // Queries are counted token by token, and the heads of a token in turn.
    auto of = [&](int n) -> const Seen& { return see[n / groups]; };
    auto query = [&](int n) { return q + (first + n / groups) * ldq + (h * groups + n % groups) * d; };
    auto result = [&](int n) { return out + (first + n / groups) * ldo + (h * groups + n % groups) * d; };
    auto weights = [&](int n) { return scores + n * int64_t(view.most_keys); };
    auto by_block = [&](const C* all, auto work) {  // work(first key, end, row(key - first key) of the block)
        for (int block = oldest / KEYS * KEYS; block < last; block += KEYS) {
            const int end = std::min(block + KEYS, last);
            work(block, end, block_of(all + int64_t(block) * d, int64_t(end - block) * d, room));
        }
    };
    auto on_path = [&](const C* all, int n, auto work) {  // work(row) for the keys beside the common ones
        for (int a = 0; a < of(n).extra; a++) work(a, block_of(all + int64_t(of(n).path[a]) * d, d, room));
    };
    // Of R queries from n on: what all of them see of a block together, what is before and after it each by itself.
    auto meet = [&](int block, int end, const float* rows, int n, auto size, auto work) {
        constexpr int R = decltype(size)::value;
        int from = block, to = end;
        for (int r = n; r < n + R; r++) from = std::max(from, of(r).from), to = std::min(to, of(r).end);
        to = std::max(from, to);
        const auto part = [&](int n, auto size, int from, int to) {
            if (to > from) work(n, size, [=](int k) { return rows + int64_t(from - block + k) * d; }, from, to - from);
        };
        for (int r = n; R > 1 && r < n + R; r++) part(r, std::integral_constant<int, 1>{}, std::max(block, of(r).from), std::min({from, end, of(r).end}));
        part(n, size, from, to);
        for (int r = n; R > 1 && r < n + R; r++) part(r, std::integral_constant<int, 1>{}, to, std::min(end, of(r).end));
    };
    auto meet_all = [&](const C* all, auto pack, auto work) {
        constexpr int PACK = decltype(pack)::value, SOME = PACK > 2 ? 2 : 1;
        by_block(all, [&](int block, int end, const float* rows) {
            int n = 0;
            for (; n + PACK <= queries; n += PACK) meet(block, end, rows, n, pack, work);
            for (; n + SOME <= queries; n += SOME) meet(block, end, rows, n, std::integral_constant<int, SOME>{}, work);
            for (; n < queries; n++) meet(block, end, rows, n, std::integral_constant<int, 1>{}, work);
        });
    };
    meet_all(keys, std::integral_constant<int, Heads::PAIR>{}, [&](int n, auto size, auto row, int from, int count) {
        constexpr int R = decltype(size)::value;
        const float* asked[R];
        float* into[R];
        for (int r = 0; r < R; r++) asked[r] = query(n + r), into[r] = weights(n + r) + from - of(n + r).from;
        Heads::template scores<R>(asked, row, d, count, into);
    });
    float sums[QUERIES * 64];
    for (int n = 0; n < queries; n++) {
        float* beside = weights(n) + of(n).end - of(n).from;
        const float* asked = query(n);
        on_path(keys, n, [&](int a, const float* key) {
            float* into = beside + a;
            Heads::template scores<1>(&asked, [=](int) { return key; }, d, 1, &into);
        });
        sums[n] = soften(weights(n), of(n).end - of(n).from + of(n).extra);
        std::fill_n(result(n), d, 0.0f);
    }
    meet_all(values, std::integral_constant<int, Heads::PACK>{}, [&](int n, auto size, auto row, int from, int count) {
        constexpr int R = decltype(size)::value;
        const float* w[R];
        float* o[R];
        for (int r = 0; r < R; r++) w[r] = weights(n + r) + from - of(n + r).from, o[r] = result(n + r);
        Heads::template add<R>(w, row, d, count, o);
    });
    for (int n = 0; n < queries; n++) {
        const float* beside = weights(n) + of(n).end - of(n).from;
        float* o = result(n);
        on_path(values, n, [&](int a, const float* value) {
            const float* w = beside + a;
            Heads::template add<1>(&w, [=](int) { return value; }, d, 1, &o);
        });
        const float sum = sums[n] > 0 ? sums[n] : 1.0f;  // a token that sees nothing gets zeros
        for (int j = 0; j < d; j++) o[j] /= sum;
    }
}

template <class C, class... Args>
void attend_any(const View& view, Args... args) {
    switch (view.dim % LANES ? 0 : view.dim / LANES) {
        case 1: return attend<1, C>(view, args...);
        case 2: return attend<2, C>(view, args...);
        case 4: return attend<4, C>(view, args...);
        case 5: return attend<5, C>(view, args...);
        case 6: return attend<6, C>(view, args...);
        case 8: return attend<8, C>(view, args...);
        case 10: return attend<10, C>(view, args...);
        case 16: return attend<16, C>(view, args...);
        default: return attend<0, C>(view, args...);
    }
}

// Norm and rotation of a token's queries for another model's keys.
void turn(const Model& model, const Layer& layer, const Batch& c, int m, float* q) {
    const int d = model.cross_dim;
    const float *cos = model.cross_cos + int64_t(c.position[m]) * d, *sin = model.cross_sin + int64_t(c.position[m]) * d;
    for (int h = 0; h < model.cross_heads; h++) {
        if (layer.cross_norm) normalise(q + h * d, layer.cross_norm, d, layer.eps, q + h * d);
        rotate(q + h * d, cos, sin, d, layer.cross_scale);
    }
}

// Norms and rotation of queries and keys, and the new keys' and values' way into the cache, for one token.
template <class C>
void place(const Model& model, const Layer& layer, const Batch& c, int index, int m, float* qkv) {
    const int d = model.dim, hq = model.heads, hk = model.kv_heads;
    float *q = qkv, *k = qkv + hq * d, *v = k + hk * d;
    if (layer.q_norm && layer.norm_heads) {
        for (int h = 0; h < hq; h++) normalise(q + h * d, layer.q_norm, d, layer.eps, q + h * d);
        for (int h = 0; h < hk; h++) normalise(k + h * d, layer.k_norm, d, layer.eps, k + h * d);
    } else if (layer.q_norm) {
        normalise(q, layer.q_norm, hq * d, layer.eps, q);
        normalise(k, layer.k_norm, hk * d, layer.eps, k);
    }
    const float *cos = model.cos + int64_t(c.position[m]) * d, *sin = model.sin + int64_t(c.position[m]) * d;
    for (int h = 0; h < hq; h++) rotate(q + h * d, cos, sin, d, layer.scale);
    if (c.queries) std::copy_n(q, hq * d, c.queries + (int64_t(index) * c.m + m) * hq * d);
    C* cache = (C*)c.cache[index] + c.slot[m] * c.slot_stride + int64_t(c.place[m]) * d;
    for (int h = 0; h < hk; h++) {
        rotate(k + h * d, cos, sin, d, 1.0f);
        for (int i = 0; i < d; i++) {
            put(cache + h * c.head_stride + i, k[h * d + i]);
            put(cache + c.kv_stride + h * c.head_stride + i, v[h * d + i]);
        }
    }
}

// The likeliest tokens of a row's logits are found in PIECES of the vocabulary, which threads share; the same pieces for any number of them.
constexpr int PIECES = 8, SHARED_FROM = 1 << 14;  // fewer logits are not worth waking the team

struct Piece {
    float most, sum;  // the largest logit, and the sum of e^(logit - most)
    int32_t found;    // tokens kept
};

// Of logits [from, to) the `top` largest in order, of equals the first.
template <class C>
Piece piece_of(const C* logits, int from, int to, int top, int32_t* tokens) {
    float most = -INFINITY, rest = 0.0f;
    V tops = V{} - INFINITY, sum = {};
    int i = from;
    for (; i + LANES <= to; i += LANES) {
        const V x = load(logits + i);
        tops = x > tops ? x : tops;
    }
    for (int j = 0; j < LANES; j++) most = std::max(most, tops[j]);
    for (; i < to; i++) most = std::max(most, get(logits[i]));
    const float least = most > -INFINITY ? most : 0.0f;
    for (i = from; i + LANES <= to; i += LANES) sum += exponential(load(logits + i) - least);
    for (; i < to; i++) rest += std::exp(get(logits[i]) - least);
    int kept = 0;
    if (top == 1) {
        for (i = from; i < to - 1 && !(get(logits[i]) >= most);) i++;
        tokens[kept++] = std::min(i, to - 1);
    }
    for (i = from; top > 1 && i < to; i++) {  // most logits are below the last one kept
        const float x = get(logits[i]);
        if (kept == top && !(x > get(logits[tokens[top - 1]]))) continue;
        int place = kept < top ? kept++ : top - 1;
        for (; place > 0 && x > get(logits[tokens[place - 1]]); place--) tokens[place] = tokens[place - 1];
        tokens[place] = i;
    }
    return {most, total(sum) + rest, kept};
}

// A row's `top` likeliest tokens and their probabilities, from its pieces and the tokens that each has kept.
template <class C>
void join(const C* logits, const Piece* pieces, const int32_t* kept, int top, int32_t* tokens, float* shares) {
    float most = -INFINITY, sum = 0.0f;
    for (int p = 0; p < PIECES; p++) most = std::max(most, pieces[p].most);
    for (int p = 0; p < PIECES; p++)
        if (pieces[p].most > -INFINITY) sum += pieces[p].sum * std::exp(pieces[p].most - most);
    int taken[PIECES] = {};
    for (int i = 0; i < top; i++) {
        int best = -1;
        for (int p = 0; p < PIECES; p++) {
            if (taken[p] == pieces[p].found) continue;
            if (best < 0 || get(logits[kept[p * top + taken[p]]]) > get(logits[kept[best * top + taken[best]]])) best = p;
        }
        tokens[i] = kept[best * top + taken[best]++];
        shares[i] = std::exp(get(logits[tokens[i]]) - most) / sum;
    }
}

// The `top` likeliest tokens, at least one and no more than there are, of each of `rows` rows of n logits, and their probabilities.
template <class C>
void likeliest(const C* logits, int rows, int n, int top, Piece* pieces, int32_t* kept, int threads, int32_t* tokens, float* shares) {
    const auto edge = [&](int p) { return int(int64_t(n) * p / PIECES); };
#pragma omp parallel for num_threads(threads) schedule(static) if (int64_t(rows) * n >= SHARED_FROM)
    for (int i = 0; i < rows * PIECES; i++)
        pieces[i] = edge(i % PIECES) == edge(i % PIECES + 1) ? Piece{-INFINITY, 0.0f, 0}
            : piece_of(logits + int64_t(i / PIECES) * n, edge(i % PIECES), edge(i % PIECES + 1), top, kept + int64_t(i) * top);
    for (int row = 0; row < rows; row++)
        join(logits + int64_t(row) * n, pieces + row * PIECES, kept + int64_t(row) * PIECES * top, top, tokens + row * top, shares + row * top);
}

template <class C>
void run(const Model& model, const Batch& c) {
    const int m = c.m, width = model.width, d = model.dim, hq = model.heads, groups = hq / model.kv_heads;
    const int64_t inner = std::max({width, hq * d, model.cross_heads * model.cross_dim});
    const int64_t joint = std::max<int64_t>((hq + 2 * model.kv_heads) * d, model.cross_heads * model.cross_dim);
    const int most_groups = std::max(groups, model.cross_heads ? model.cross_heads / model.cross_kv_heads : 0);
    float *x = c.work, *h = x + m * int64_t(width), *qkv = h + m * inner, *a = qkv + m * joint;
    float *g = a + m * inner, *scores = g + m * int64_t(model.ffn);
    // Tokens of one slot, QUERIES at a time: all that attention takes together.
    int chunks = 0;
    const int64_t own = int64_t(std::min(QUERIES, m)) * most_groups * c.most_keys + KEYS * std::max(d, model.cross_dim);
    int32_t* chunk = (int32_t*)(scores + c.threads * own);
    for (int row = 0; row < m; row++)
        if (!chunks || c.slot[row] != c.slot[chunk[chunks - 1]] || row - chunk[chunks - 1] == QUERIES) chunk[chunks++] = row;
    chunk[chunks] = m;
    int taken = 0;
#pragma omp parallel num_threads(c.threads)
    {
        const Team team{omp_get_thread_num(), omp_get_num_threads()};
        float *mine = scores + team.id * own, *room = mine + own - KEYS * std::max(d, model.cross_dim);
        const int low = team.from(m), high = team.to(m);
        auto normed = [&](const float* weight, float eps) -> const float* {  // x itself where there is no norm
            if (!weight) return x;
            for (int row = low; row < high; row++) normalise(x + row * width, weight, width, eps, h + row * width);
            team.wait();
            return h;
        };
        auto add_normed = [&](const float* weight, float eps) {  // x += norm(h)
            team.wait();
            for (int row = low; row < high; row++) {
                normalise(h + row * width, weight, width, eps, h + row * width);
                for (int i = 0; i < width; i++) x[row * width + i] += h[row * width + i];
            }
        };
        auto attend_all = [&](const View& view, const float* q, int64_t ldq, float* out, int64_t ldo) {
            for (int task;;) {
#pragma omp atomic capture
                task = taken++;
                if (task >= chunks * view.kv_heads) break;
                const int first = chunk[task / view.kv_heads], rows = chunk[task / view.kv_heads + 1] - first;
                attend_any<C>(view, task % view.kv_heads, first, rows, q, ldq, out, ldo, mine, room);
            }
        };
        for (int row = low; row < high; row++)
            for (int i = 0; i < width; i++)
                x[row * width + i] = get(((const C*)model.embedding)[int64_t(c.token[row]) * width + i]);
        for (int index = 0; index < model.count; index++) {
            const Layer& layer = model.layers[index];
            team.wait();
            linear_into(team, layer.qkv, normed(layer.before_attention, layer.eps), width, m, qkv, joint, false);
            team.wait();
            for (int row = low; row < high; row++) place<C>(model, layer, c, index, row, qkv + row * joint);
            if (team.id == 0) taken = 0;
            team.wait();
            if (index == model.count - 1 && !c.l) break;  // a prefill is done once the last keys are in place
            const View own{hq, model.kv_heads, d, layer.window, c.most_keys, c.cache[index], c.kv_stride, c.slot_stride, c.head_stride,
                           c.position, c.dropped, c.slot, c.end, c.paths, c.path_start};
            attend_all(own, qkv, joint, a, hq * d);
            team.wait();
            float* into = layer.after_attention ? h : x;
            linear_into(team, layer.o, a, hq * d, m, into, width, !layer.after_attention);
            if (layer.after_attention) add_normed(layer.after_attention, layer.eps);
            team.wait();
            if (layer.cross_q.in) {
                const int cross = model.cross_heads * model.cross_dim;
                linear_into(team, layer.cross_q, normed(layer.before_cross, layer.eps), width, m, qkv, joint, false);
                team.wait();
                for (int row = low; row < high; row++) turn(model, layer, c, row, qkv + row * joint);
                if (team.id == 0) taken = 0;
                team.wait();
                const View other{model.cross_heads, model.cross_kv_heads, model.cross_dim, 0, c.most_keys, c.read_cache[index],
                                 c.read_kv_stride, c.read_slot_stride, c.read_head_stride, c.position, c.dropped, c.read_slot, c.read_end,
                                 nullptr, nullptr};
                attend_all(other, qkv, joint, a, cross);
                team.wait();
                linear_into(team, layer.cross_o, a, cross, m, x, width, true);
                team.wait();
            }
            apply<2>(team, layer.gate_up, normed(layer.before_mlp, layer.eps), width, m,
                        [&](int row, int rows, int first, int n, const Sums* sums) {
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < n; j += LANES) {
                        V gate = load(sums[0][i] + j), up = load(sums[1][i] + j);
                        float made[LANES];
                        store(made, gate / (1.0f + exponential(-gate)) * up);
                        std::copy_n(made, std::min(LANES, n - j), g + (row + i) * int64_t(layer.down.in) + first + j);
                    }
            });
            team.wait();
            into = layer.after_mlp ? h : x;
            linear_into(team, layer.down, g, layer.down.in, m, into, width, !layer.after_mlp);
            if (layer.after_mlp) add_normed(layer.after_mlp, layer.eps);
        }
        if (c.l) {
            team.wait();
            for (int row = team.from(c.l); row < team.to(c.l); row++)
                if (model.norm) normalise(x + c.wanted[row] * width, model.norm, width, model.eps, h + row * width);
                else std::copy_n(x + c.wanted[row] * width, width, h + row * width);
            team.wait();
            apply(team, model.head, h, width, c.l, [&](int row, int rows, int first, int n, const Sums* sums) {
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < n; j++)
                        put((C*)c.logits + (row + i) * int64_t(model.head.out) + first + j,
                            (*sums)[i][j] + (model.head.bias ? model.head.bias[first + j] : 0.0f));
            });
        }
    }
}

int64_t work_floats(const Model& model, int32_t m, int32_t most_keys, int32_t threads) {
    const int64_t d = model.dim, cross = model.cross_heads * model.cross_dim;
    const int64_t inner = std::max({int64_t(model.width), model.heads * d, cross});
    const int64_t joint = std::max((model.heads + 2 * model.kv_heads) * d, cross);
    const int64_t groups = std::max(model.heads / model.kv_heads, cross ? model.cross_heads / model.cross_kv_heads : 0);
    return m * (model.width + 2 * inner + joint + model.ffn) + m + 1 +
           threads * (std::min(QUERIES, m) * groups * most_keys + KEYS * std::max(model.dim, model.cross_dim));
}

// Memory that a thread keeps from call to call, since fresh memory costs page faults; in whole cache lines. No std container: what these
// compile to could be shared among the objects of several processors.
template <class T>
struct Buffer {
    T* at = nullptr;
    int64_t size = 0;
    ~Buffer() { std::free(at); }
    T* of(int64_t n) {  // null where there is no more memory
        if (n > size) {
            std::free(at);
            size = (n + n / 2 + 63) / 64 * 64;
            at = (T*)std::aligned_alloc(64, sizeof(T) * size);
            if (!at) size = 0;
        }
        return at;
    }
};

struct Room {
    Buffer<int32_t> numbers, later, kept;
    Buffer<float> work, chances;
    Buffer<Piece> pieces;
};

// The call token by token, with room for `steps` tokens behind each row's.
Fault spell(const Model& model, const Call& c, int steps, Room& room, Batch& batch) {
    const int m = c.count * c.width, l = c.l;
    int64_t path = 0;
    for (int i = 0; c.parents && i < m; i++)
        if (c.parents[i] < -1 || c.parents[i] >= i % c.width) return NO_TREE;
    for (int i = 0; c.parents && i < m; i++)
        for (int at = i; at != -1; path++) at = c.parents[at] == -1 ? -1 : i - i % c.width + c.parents[at];
    int32_t* next = room.numbers.of(9 * int64_t(m) + 1 + path + (c.wanted ? 0 : l));
    if (!next) return NO_MEMORY;
    const auto take = [&](int64_t n) { return std::exchange(next, next + n); };
    int32_t *token = take(m), *position = take(m), *dropped = take(m), *slot = take(m), *place = take(m), *end = take(m);
    int32_t *read_slot = take(m), *read_end = take(m), *path_start = take(m + 1), *paths = take(path), most = 0;
    path_start[0] = 0;
    for (int b = 0; b < c.count; b++) {
        const Row& row = c.rows[b];
        most = std::max({most, row.start + c.width + steps, row.read_length});
        for (int t = 0, i = b * c.width; t < c.width; t++, i++) {
            if (c.tokens[i] < 0 || c.tokens[i] >= c.known) return UNKNOWN_ID;
            const int parent = c.parents ? c.parents[i] : t - 1, first = row.start + row.dropped;
            token[i] = int32_t(c.tokens[i]), slot[i] = row.slot, dropped[i] = row.dropped, place[i] = row.start + t;
            position[i] = !c.parents ? std::min(first + t, c.last) : parent == -1 ? first : position[b * c.width + parent] + 1;
            if (position[i] + steps > c.positions) return TOO_LONG;
            read_slot[i] = row.read_slot, read_end[i] = std::min(row.read_length, position[i]);
            end[i] = c.parents ? row.start : place[i] + 1;
            int32_t* stop = path_start + i + 1;
            *stop = path_start[i];
            if (c.parents) {  // its parent's path and itself
                if (parent != -1) {
                    const int above = b * c.width + parent;
                    *stop += path_start[above + 1] - path_start[above];
                    std::copy(paths + path_start[above], paths + path_start[above + 1], paths + path_start[i]);
                }
                paths[(*stop)++] = place[i];
            }
        }
    }
    const int32_t* wanted = c.wanted;
    if (!wanted) {
        int32_t* all = take(l);
        for (int i = 0; i < l; i++) all[i] = i;
        wanted = all;
    }
    most = (most + LANES - 1) / LANES * LANES + LANES;
    float* work = room.work.of(work_floats(model, m, most, c.threads));
    if (!work) return NO_MEMORY;
    batch = {token, position, dropped, slot, place, end, paths, path_start, read_slot, read_end, wanted, c.cache, c.read_cache, work, c.queries, c.logits, c.kv_stride, c.slot_stride, c.head_stride,
             c.read_kv_stride, c.read_slot_stride, c.read_head_stride, m, l, most, c.threads};
    return NONE;
}

void run_any(const Model& model, const Batch& batch) { model.half ? run<bf16>(model, batch) : run<float>(model, batch); }

thread_local Room rooms;

}  // namespace

int64_t OFFERED(size_of)(int32_t what) { return what == 0 ? sizeof(Layer) : what == 1 ? sizeof(Model) : sizeof(Call); }

int32_t OFFERED(forward)(const Model* model, const Call* call) {
    Batch batch;
    const Fault fault = spell(*model, *call, 1, rooms, batch);
    if (fault == NONE) run_any(*model, batch);
    return fault;
}

// Greedy continuation: the call's wanted tokens are the last ones of their rows, L of them; each row gets up to `steps` more tokens.
// likely, shares: [steps, L, top], the likeliest tokens at each place and their probabilities, of which the first is the drafted one;
// -1 from where the chance of the row's path falls below `least` or, but for the first token, below `price` times the tokens for each
// plain step that the row's round has so far, or 1. The chance is the product of probabilities, or of odds[row * bins + bin of the
// probability]. All drafted tokens but the last are also fed. Their keys go behind the row's.
int32_t OFFERED(extend)(const Model* model, const Call* call, int32_t steps, float least, float price, const float* odds, int32_t bins,
                        int32_t top, int32_t* likely, float* shares) {
    Batch first;
    if (const Fault fault = spell(*model, *call, steps, rooms, first); fault != NONE) return fault;
    const int l = call->l, v = model->head.out;
    std::fill_n(likely, steps * l * top, -1);
    int32_t *numbers = rooms.later.of(10 * int64_t(l) + 1), *kept = rooms.kept.of(int64_t(l) * PIECES * top);
    float* path = rooms.chances.of(2 * int64_t(l));
    Piece* pieces = rooms.pieces.of(int64_t(l) * PIECES);
    if (!numbers || !kept || !path || !pieces) return NO_MEMORY;
    const auto take = [&](int64_t n) { return std::exchange(numbers, numbers + n); };
    int32_t *next = take(l), *position = take(l), *dropped = take(l), *slot = take(l), *place = take(l), *end = take(l), *each = take(l);
    int32_t *read_slot = take(l), *read_end = take(l), *none = take(l + 1);
    float* gain = path + l;
    std::fill_n(path, 2 * l, 1.0f);
    std::fill_n(none, l + 1, 0);
    for (int i = 0; i < l; i++) {
        const int row = first.wanted[i];
        position[i] = first.position[row], dropped[i] = first.dropped[row], slot[i] = first.slot[row], place[i] = first.place[row];
        each[i] = i, read_slot[i] = first.read_slot[row], read_end[i] = first.read_end[row];
    }
    Batch later = first;
    later.token = next, later.position = position, later.dropped = dropped, later.slot = slot, later.place = place, later.end = end;
    later.path_start = none, later.wanted = each, later.read_slot = read_slot, later.read_end = read_end, later.m = l;
    for (int step = 0; step < steps; step++) {
        run_any(*model, step ? later : first);
        int32_t* here = likely + int64_t(step) * l * top;
        float* chances = shares + int64_t(step) * l * top;
        if (model->half) likeliest((const bf16*)call->logits, l, v, top, pieces, kept, call->threads, here, chances);
        else likeliest((const float*)call->logits, l, v, top, pieces, kept, call->threads, here, chances);
        bool going = false;
        for (int i = 0; i < l; i++) {
            int32_t* tokens = here + int64_t(i) * top;
            const float* sure = chances + int64_t(i) * top;
            next[i] = tokens[0];
            path[i] *= bins ? odds[i * bins + std::max(0, std::min(bins - 1, int(sure[0] * bins)))] : sure[0];
            if (!(sure[0] >= 0)) path[i] = -1.0f;  // no number: nothing is drafted
            if (path[i] >= least && (!step || path[i] >= price * std::max(1.0f, gain[i] / (1 + step * price)))) going = true, gain[i] += path[i];
            else tokens[0] = -1, path[i] = -1.0f;
        }
        if (!going) break;
        for (int i = 0; i < l; i++) position[i]++, end[i] = ++place[i] + 1;
    }
    return NONE;
}
