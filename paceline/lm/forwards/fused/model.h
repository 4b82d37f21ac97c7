// What Python and the compiled forward tell each other: a model, a call, and what the library exports. forward.py has the same
// structures.
#pragma once

#include <cstdint>

// Every object of the library is this source, compiled for one kind of processor, which names what it offers.
#define JOINED(name, path) name##_##path
#define NAMED(name, path) JOINED(name, path)
#define EXPORTED(name) NAMED(name, PACELINE_PATH)

extern "C" {

// How a linear's weights are stored; from KIND_U4 on as blocks.h says.
enum Kind : int32_t {
    KIND_FP32, KIND_BF16, KIND_INT8,
    KIND_U4, KIND_U4_TWO_LEVEL, KIND_I8, KIND_I8_MINIMUM, KIND_I8_TWO_LEVEL, KIND_I8_SIXTEEN
};

struct Linear {
    // Tiles [ceil(out / TILE)][in][TILE]; of bf16 [..][ceil(in / 2)][TILE][2], of int8 [..][ceil(in / 4)][TILE][4].
    const void* weight;
    const float* scale;  // of int8: what an output's weights are multiples of, [tiles][TILE]; null for the others
    const float* bias;   // [out] or null
    const Linear* rest;  // further outputs of the same inputs, in another format; or null
    int32_t out, in, kind, integer;  // integer: its inputs are rounded
};

struct Layer {
    Linear qkv, o, gate_up, down;  // gate_up: tiles of gate and up in turn; `out` counts one of them
    Linear cross_q, cross_o;       // attention over another model's keys, after the layer's own; `in` 0 = none
    const float *before_attention, *after_attention, *before_cross, *before_mlp, *after_mlp;  // norms [width], or null
    const float *q_norm, *k_norm, *cross_norm;
    int32_t norm_heads;  // q_norm and k_norm are [D], each head by itself
    float scale, cross_scale, eps;
};

struct Model {
    const Layer* layers;
    const void* embedding;  // [V, width], or null where `table` is looked up
    const float *norm, *cos, *sin;  // [width] or null, [positions, D]; the sine's first half is negated
    const float *cross_cos, *cross_sin;
    Linear head, table;
    int32_t cross_heads, cross_kv_heads, cross_dim;
    int32_t count, width, heads, kv_heads, dim, ffn;  // ffn: the widest
    int32_t half, half_keys;  // whether embedding and logits, and the cache, are bf16
    float eps;
};

struct Row {
    int64_t length, read_length;  // tokens committed, of its text and of the other model's, where layers read one
};

// What a row's slot holds of a group of layers: keys and values of the text's first `sinks` tokens, and of the last ones, in
// order; `dropped` are missing in between, so the token at position p >= sinks stands at p - dropped. From position `since` on a
// token sees the last `window` keys beside sinks, 0 = all.
struct Held {
    void* const* layers;  // by layer, each [2, kv_heads, capacity, D]; null for those of other groups
    int64_t capacity, dropped, sinks, window, since;
};

struct Call {
    const int64_t* tokens;    // [count, width] ids
    const Row* rows;          // [count]
    const Held* held;         // [groups, count]
    const Held* read;         // [count], of the other model's: a pointer for each layer here that reads one; or null
    const int32_t* group;     // [layers], of each layer its group, whose layers all rows hold alike
    const int32_t* parents;   // [count, width], of each token among its row's, -1 = what is committed; null: every row is a chain
    const int32_t* wanted;    // tokens whose logits are wanted, `l` of them; null: all
    float* queries;           // [layers, count * width, heads * D]: receives what every token asks, rotated and scaled; or null
    void* logits;             // [l, V] in the weights' dtype
    int32_t groups, count, width, l;
    int32_t positions, known;  // how many there are; a chain's padding has the last position at most
    int32_t threads;
};

enum Fault : int32_t { NONE, UNKNOWN_ID, TOO_LONG, NO_MEMORY, NO_TREE };

int32_t EXPORTED(size_of)(int32_t what);  // of Layer, Model and Call in bytes, for those who describe them in another language
int32_t EXPORTED(forward)(const Model* model, const Call* call);  // a Fault, found before anything is written
int32_t EXPORTED(extend)(const Model* model, const Call* call, int32_t steps, float min_chance, float token_cost,
                         const float* calibration, int32_t bins, int32_t top, int32_t* top_tokens, float* probs);

// Doors for tests: parts of the forward by themselves. y [m, out] = x [m, in] W' + bias; a row of n scores to weights, with space
// behind them to the next multiple of 16, and their sum; rotation in place of one head's d numbers.
void EXPORTED(gemm)(const Linear* linear, const float* x, int32_t m, float* y, int32_t threads);
float EXPORTED(softmax)(float* scores, int32_t n);
void EXPORTED(rope)(float* x, const float* cos, const float* sin, int32_t d, float scale);
}
