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
#include <memory>
#include <omp.h>
#include <utility>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16, MOST_ROWS = 12;
#else
constexpr int LANES = 8, MOST_ROWS = 3;
#endif
constexpr int TILE = 32, PARTS = TILE / LANES;  // outputs of a linear that are made together
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

enum Fault : int32_t { NONE, UNKNOWN_ID, TOO_LONG };

int64_t size_of(int32_t what);  // of Layer, Model and Call in bytes, for whoever describes them in another language
int32_t forward(const Model* model, const Call* call);  // a Fault, found before anything is written
int32_t extend(const Model* model, const Call* call, int32_t steps, float least, float price, const float* odds, int32_t bins,
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

inline void fetch(const void* row) {  // towards the caches; the hardware's own prefetching reaches half of the memory's rate
    for (int64_t line = 0; line < TILE * 4; line += 64) __builtin_prefetch((const char*)row + AHEAD + line, 0, 1);
}

// sums[n][m][TILE] = x[m] . tile n, for ROWS rows of x and TILES tiles, `size` apart; every sum runs over the inputs in order. Of
// smaller numbers two inputs' halves, or four inputs' bytes, stand side by side in 32 bits, so that each costs an operation or two to
// widen. A byte is taken as the highest one of an integer, so what is made of it is 2^24 times as large.
template <int ROWS, int TILES, class W>
void multiply(const float* x, int64_t ldx, const W* tile, int64_t size, int in, Sums* sums) {
    constexpr int SIDE = 4 / sizeof(W), BITS = 8 * sizeof(W);
    V acc[TILES][ROWS][PARTS] = {};
    for (int k = 0; k < in; k += SIDE) {
        U all[TILES][PARTS];
        for (int n = 0; n < TILES; n++) {
            const W* row = tile + n * size + int64_t(k) * TILE;
            fetch(row);
            for (int p = 0; p < PARTS; p++) std::memcpy(&all[n][p], row + SIDE * p * LANES, sizeof(U));
        }
        auto add = [&](int one) {
            for (int n = 0; n < TILES; n++) {
                V w[PARTS];
                for (int p = 0; p < PARTS; p++) {
                    const U bits = (all[n][p] << (32 - BITS - one * BITS)) & (0xffffffffu << (32 - BITS));
                    if (sizeof(W) > 1) std::memcpy(&w[p], &bits, sizeof bits);
                    else w[p] = __builtin_convertvector((I)bits, V);
                }
                for (int m = 0; m < ROWS; m++)
                    for (int p = 0; p < PARTS; p++) acc[n][m][p] += w[p] * x[m * ldx + k + one];
            }
        };
        if (k + SIDE <= in) {
#pragma GCC unroll 4
            for (int one = 0; one < SIDE; one++) add(one);
        } else {
            for (int one = 0; one < in - k; one++) add(one);
        }
    }
    for (int n = 0; n < TILES; n++)
        for (int m = 0; m < ROWS; m++)
            for (int p = 0; p < PARTS; p++) store(sums[n][m] + p * LANES, acc[n][m][p]);
}

// Of one or two rows two tiles at once: one alone would wait for its own sums.
template <class W, int ROWS = MOST_ROWS>
void multiply_rows(int rows, int tiles, const float* x, int64_t ldx, const W* tile, int64_t size, int in, Sums* sums) {
    if (rows == ROWS) {
        if constexpr (ROWS <= 2)
            if (tiles == 2) return multiply<ROWS, 2>(x, ldx, tile, size, in, sums);
        for (int n = 0; n < tiles; n++) multiply<ROWS, 1>(x, ldx, tile + n * size, size, in, sums + n);
        return;
    }
    if constexpr (ROWS > 1) multiply_rows<W, ROWS - 1>(rows, tiles, x, ldx, tile, size, in, sums);
}

// For all of this thread's tiles and groups of rows: then(first row, rows, first output, outputs, sums). WIDE tiles belong together.
template <int WIDE, class W, class Then>
void apply_to(const Team& team, const Linear& linear, const float* x, int64_t ldx, int m, Then then) {
    const int tiles = (linear.out + TILE - 1) / TILE;
    constexpr int side = 4 / sizeof(W);
    const int64_t size = int64_t(linear.in + side - 1) / side * side * TILE;
    Sums sums[2];
    for (int t = team.from(tiles), step = 1; t < team.to(tiles); t += step) {
        if (WIDE == 1) step = m <= 2 && t + 1 < team.to(tiles) ? 2 : 1;
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

// How a query meets keys, and weights meet values: with ND vectors to a head, or (ND = 0) for any size. `row(k)` is the k-th key
// or value. PACK queries meet the values together, so that each is loaded once for all.
template <int ND>
struct Meet {
    static constexpr int PACK = ND <= 5 * LANES / 16 ? 4 : ND <= 8 * LANES / 16 ? 2 : 1;

    template <class Row>
    static void scores(const float* q, Row row, int, int n, float* out) {
        V query[ND];
        for (int i = 0; i < ND; i++) query[i] = load(q + i * LANES);
        for (int first = 0; first < n; first += LANES) {
            V acc[LANES];
            for (int k = 0; k < LANES; k++) {
                const float* key = row(std::min(first + k, n - 1));
                acc[k] = V{};
                for (int i = 0; i < ND; i++) acc[k] += query[i] * load(key + i * LANES);
            }
            const V sums = totals<1>(acc);
            if (first + LANES <= n) store(out + first, sums);
            else for (int k = first; k < n; k++) out[k] = sums[k - first];
        }
    }

    template <int R, class Row>
    static void add(const float* const* weights, Row row, int, int n, float* const* out) {
        V acc[R][ND];
        for (int r = 0; r < R; r++)
            for (int i = 0; i < ND; i++) acc[r][i] = load(out[r] + i * LANES);
        for (int k = 0; k < n; k++) {
            const float* value = row(k);
            for (int i = 0; i < ND; i++) {
                const V v = load(value + i * LANES);
                for (int r = 0; r < R; r++) acc[r][i] += v * weights[r][k];
            }
        }
        for (int r = 0; r < R; r++)
            for (int i = 0; i < ND; i++) store(out[r] + i * LANES, acc[r][i]);
    }
};

template <>
struct Meet<0> {
    static constexpr int PACK = 1;

    template <class Row>
    static void scores(const float* q, Row row, int d, int n, float* out) {
        for (int k = 0; k < n; k++) {
            out[k] = 0;
            for (int i = 0; i < d; i++) out[k] += q[i] * row(k)[i];
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
    constexpr int PACK = Heads::PACK;
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
    by_block(keys, [&](int block, int end, const float* rows) {
        for (int n = 0; n < queries; n++) {
            const int from = std::max(block, of(n).from), count = std::min(end, of(n).end) - from;
            auto row = [=](int k) { return rows + int64_t(from - block + k) * d; };
            if (count > 0) Heads::scores(query(n), row, d, count, weights(n) + from - of(n).from);
        }
    });
    float sums[QUERIES * 64];
    for (int n = 0; n < queries; n++) {
        float* beside = weights(n) + of(n).end - of(n).from;
        on_path(keys, n, [&](int a, const float* key) { Heads::scores(query(n), [=](int) { return key; }, d, 1, beside + a); });
        sums[n] = soften(weights(n), of(n).end - of(n).from + of(n).extra);
        std::fill_n(result(n), d, 0.0f);
    }
    by_block(values, [&](int block, int end, const float* rows) {
        auto one = [&](int n, int from, int to) {
            from = std::max(from, of(n).from), to = std::min(to, of(n).end);
            const float* w = weights(n) + from - of(n).from;
            float* o = result(n);
            if (to > from) Heads::template add<1>(&w, [=](int k) { return rows + int64_t(from - block + k) * d; }, d, to - from, &o);
        };
        // What several see together; before and after it each by itself.
        auto some = [&](int n, auto size) {
            constexpr int R = decltype(size)::value;
            int from = block, to = end;
            for (int r = n; r < n + R; r++) from = std::max(from, of(r).from), to = std::min(to, of(r).end);
            to = std::max(from, to);
            const float* w[R];
            float* o[R];
            for (int r = 0; r < R; r++) w[r] = weights(n + r) + from - of(n + r).from, o[r] = result(n + r);
            for (int r = n; r < n + R; r++) one(r, block, std::min(from, end));
            if (to > from) Heads::template add<R>(w, [=](int k) { return rows + int64_t(from - block + k) * d; }, d, to - from, o);
            for (int r = n; r < n + R; r++) one(r, std::min(to, end), end);
        };
        int n = 0;
        for (; n + PACK <= queries; n += PACK) some(n, std::integral_constant<int, PACK>{});
        for (; PACK > 2 && n + 2 <= queries; n += 2) some(n, std::integral_constant<int, PACK == 1 ? 1 : 2>{});
        for (; n < queries; n++) one(n, block, end);
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

// The `top` likeliest tokens, at least one, and their probabilities; of equals the first.
template <class C>
void likeliest(const C* logits, int n, int top, int32_t* tokens, float* shares) {
    float most = -INFINITY, rest = 0.0f;
    int i = 0;
    V tops = V{} - INFINITY, sum = {};
    for (; i + LANES <= n; i += LANES) {
        const V x = load(logits + i);
        tops = x > tops ? x : tops;
    }
    for (int j = 0; j < LANES; j++) most = std::max(most, tops[j]);
    for (; i < n; i++) most = std::max(most, get(logits[i]));
    for (i = 0; i + LANES <= n; i += LANES) sum += exponential(load(logits + i) - most);
    for (; i < n; i++) rest += std::exp(get(logits[i]) - most);
    int found = 0;
    if (top == 1)
        while (found < n - 1 && !(get(logits[found]) >= most)) found++;
    tokens[0] = found;
    if (top > 1) {  // kept in order; most logits are below the last one kept
        int kept = 0;
        for (i = 0; i < n; i++) {
            const float x = get(logits[i]);
            if (kept == top && !(x > get(logits[tokens[top - 1]]))) continue;
            int place = kept < top ? kept++ : top - 1;
            for (; place > 0 && x > get(logits[tokens[place - 1]]); place--) tokens[place] = tokens[place - 1];
            tokens[place] = i;
        }
    }
    for (i = 0; i < top; i++) shares[i] = std::exp(get(logits[tokens[i]]) - most) / (total(sum) + rest);
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

// What a thread needs while it answers a call; kept, since fresh memory costs page faults. Vectors lie in whole cache lines.
struct Room {
    std::vector<int32_t> numbers;
    std::unique_ptr<float, decltype(&std::free)> work{nullptr, std::free};
    int64_t floats = 0;
    float* of(int64_t n) {
        if (n > floats) {
            floats = (n + n / 2 + 15) / 16 * 16;
            work.reset((float*)std::aligned_alloc(64, 4 * floats));
        }
        return work.get();
    }
};

// The call token by token, with room for `steps` tokens behind each row's.
Fault spell(const Model& model, const Call& c, int steps, Room& room, Batch& batch) {
    const int m = c.count * c.width, l = c.l;
    int64_t path = 0;
    for (int i = 0; c.parents && i < m; i++)
        for (int at = i; at != -1; path++) at = c.parents[at] == -1 ? -1 : i - i % c.width + c.parents[at];
    room.numbers.resize(9 * int64_t(m) + 1 + path + (c.wanted ? 0 : l));
    int32_t* next = room.numbers.data();
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
    batch = {token, position, dropped, slot, place, end, paths, path_start, read_slot, read_end, wanted, c.cache, c.read_cache,
             room.of(work_floats(model, m, most, c.threads)), c.queries, c.logits, c.kv_stride, c.slot_stride, c.head_stride,
             c.read_kv_stride, c.read_slot_stride, c.read_head_stride, m, l, most, c.threads};
    return NONE;
}

void run_any(const Model& model, const Batch& batch) { model.half ? run<bf16>(model, batch) : run<float>(model, batch); }

thread_local Room rooms;

}  // namespace

int64_t size_of(int32_t what) { return what == 0 ? sizeof(Layer) : what == 1 ? sizeof(Model) : sizeof(Call); }

int32_t forward(const Model* model, const Call* call) {
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
int32_t extend(const Model* model, const Call* call, int32_t steps, float least, float price, const float* odds, int32_t bins,
               int32_t top, int32_t* likely, float* shares) {
    Batch first;
    if (const Fault fault = spell(*model, *call, steps, rooms, first); fault != NONE) return fault;
    const int l = call->l;
    std::vector<float> path(l, 1.0f), gain(l, 1.0f);
    std::fill_n(likely, steps * l * top, -1);
    std::vector<int32_t> next(l), position(l), dropped(l), slot(l), place(l), end(l), none(l + 1, 0), each(l), read_slot(l), read_end(l);
    for (int i = 0; i < l; i++) {
        const int row = first.wanted[i];
        position[i] = first.position[row], dropped[i] = first.dropped[row], slot[i] = first.slot[row], place[i] = first.place[row];
        each[i] = i, read_slot[i] = first.read_slot[row], read_end[i] = first.read_end[row];
    }
    Batch later = first;
    later.token = next.data(), later.position = position.data(), later.dropped = dropped.data(), later.slot = slot.data();
    later.place = place.data(), later.end = end.data(), later.path_start = none.data(), later.wanted = each.data();
    later.read_slot = read_slot.data(), later.read_end = read_end.data(), later.m = l;
    for (int step = 0; step < steps; step++) {
        run_any(*model, step ? later : first);
        const int v = model->head.out;
        bool going = false;
        for (int i = 0; i < l; i++) {
            const int64_t row = int64_t(i) * v;
            int32_t* tokens = likely + (int64_t(step) * l + i) * top;
            float* sure = shares + (int64_t(step) * l + i) * top;
            if (model->half) likeliest((const bf16*)call->logits + row, v, top, tokens, sure);
            else likeliest((const float*)call->logits + row, v, top, tokens, sure);
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
