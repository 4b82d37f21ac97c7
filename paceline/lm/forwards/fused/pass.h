// A forward of a batch, as one thread of the team runs it: the layers in turn, and at the end the logits.
#pragma once

#include <algorithm>
#include <omp.h>

#include "attention.h"
#include "batch.h"
#include "linear.h"
#include "model.h"
#include "norm_rope.h"

namespace {

// C: the dtype of the cache. x [m, width] runs through the layers; what is behind it is made anew in each. Whoever makes a row that
// a linear takes rounded rounds it too, so that nobody waits for that.
template <class C>
struct Pass {
    const Model& model;
    const Batch& c;
    const Layout& at;
    const Team team;
    const int m = c.m, width = model.width, low = team.from(m), high = team.to(m);
    float *x = c.work, *h = c.work + at.h, *qkv = c.work + at.qkv, *attended = c.work + at.attended, *gated = c.work + at.gated;
    Rounded *codes = (Rounded*)(c.work + at.codes), *gated_codes = (Rounded*)gated;  // of h or attended; in place of `gated`
    const int64_t ldc = at.ldc;
    float *scores = c.work + at.own + team.id * at.own_size, *widened = scores + at.scores_size;

    void run() const {
        embed();
        for (int index = 0; index < model.count; index++) {
            const Layer& layer = model.layers[index];
            team.wait();
            write_qkv(layer, index);
            if (index == model.count - 1 && !c.l) return;  // a prefill is done once the last keys are in place
            attention(layer, index);
            if (layer.cross_q.in) cross_attention(layer, index);
            mlp(layer);
        }
        if (c.l) write_logits();
    }

    void embed() const {
        for (int row = low; row < high; row++) {
            const int64_t token = c.token[row];
            float* to = x + row * width;
            if (!model.embedding)
                with_format(model.table.kind, [&](auto format) {
                    look_up<decltype(format)>((const uint8_t*)model.table.weight, width, token, to);
                });
            else if (model.half) std::transform(half_row(model.embedding, token), half_row(model.embedding, token + 1), to,
                                                [](bf16 n) { return get(n); });
            else std::copy_n((const float*)model.embedding + token * width, width, to);
        }
    }

    const bf16* half_row(const void* rows, int64_t row) const { return (const bf16*)rows + row * width; }

    // What a linear is given: rows of x, under a norm if there is one.
    Input normed(const Linear& linear, const float* weight, float eps) const {
        const float* made = weight ? h : x;
        for (int row = low; row < high; row++) {
            if (weight) rms_norm(x + row * width, weight, width, eps, h + row * width);
            if (linear.integer) round_row(made + row * width, width, codes + row * ldc);
        }
        if (weight || linear.integer) team.wait();
        return {made, width, codes, ldc};
    }

    // x += linear(y), or its norm where there is a weight for one.
    void add_linear(const Linear& linear, const Input& y, const float* norm, float eps) const {
        linear_to(team, linear, y, m, norm ? h : x, width, !norm);
        if (norm) team.wait();
        for (int row = low; norm && row < high; row++) {
            rms_norm(h + row * width, norm, width, eps, h + row * width);
            for (int i = 0; i < width; i++) x[row * width + i] += h[row * width + i];
        }
    }

    void write_qkv(const Layer& layer, int index) const {
        linear_to(team, layer.qkv, normed(layer.qkv, layer.before_attention, layer.eps), m, qkv, at.qkv_width, false);
        team.wait();
        for (int row = low; row < high; row++) {
            float* q = qkv + row * at.qkv_width;
            const int64_t size = model.heads * model.dim;
            norm_and_rope(layer, q, c.position[row]);
            if (c.queries) std::copy_n(q, size, c.queries + (int64_t(index) * m + row) * size);
            write_kv(index, row, q + size);
        }
        team.wait();
    }

    // Of one token's queries and keys.
    void norm_and_rope(const Layer& layer, float* q, int position) const {
        const int d = model.dim, hq = model.heads, hk = model.kv_heads;
        float* k = q + hq * d;
        if (layer.q_norm && layer.norm_heads) {
            for (int h = 0; h < hq; h++) rms_norm(q + h * d, layer.q_norm, d, layer.eps, q + h * d);
            for (int h = 0; h < hk; h++) rms_norm(k + h * d, layer.k_norm, d, layer.eps, k + h * d);
        } else if (layer.q_norm) {
            rms_norm(q, layer.q_norm, hq * d, layer.eps, q);
            rms_norm(k, layer.k_norm, hk * d, layer.eps, k);
        }
        const float *cos = model.cos + int64_t(position) * d, *sin = model.sin + int64_t(position) * d;
        for (int h = 0; h < hq + hk; h++) rope(q + h * d, cos, sin, d, h < hq ? layer.scale : 1.0f);
    }

    // One token's keys, and behind them its values, into the cache.
    void write_kv(int index, int row, const float* kv) const {
        const int d = model.dim;
        const Held& held = c.held[c.group[index] * c.count + c.row[row]];
        C* cache = (C*)held.layers[index] + (c.place[row] - held.dropped) * d;
        for (int h = 0; h < 2 * model.kv_heads; h++)
            for (int i = 0; i < d; i++) put(cache + h * held.capacity * d + i, kv[h * d + i]);
    }

    void attention(const Layer& layer, int index) const {
        const Input made = attend_heads(layer.o, {model.heads, model.kv_heads, model.dim, c.most_keys, index,
                                                  c.held + c.group[index] * c.count, c.position, c.row, c.end, c.paths,
                                                  c.path_start});
        add_linear(layer.o, made, layer.after_attention, layer.eps);
        team.wait();
    }

    // To another model's keys, which lie rotated in its cache.
    void cross_attention(const Layer& layer, int index) const {
        const int d = model.cross_dim;
        linear_to(team, layer.cross_q, normed(layer.cross_q, layer.before_cross, layer.eps), m, qkv, at.qkv_width, false);
        team.wait();
        for (int row = low; row < high; row++) {
            const int64_t position = int64_t(c.position[row]) * d;
            for (float *q = qkv + row * at.qkv_width, *end = q + model.cross_heads * d; q < end; q += d) {
                if (layer.cross_norm) rms_norm(q, layer.cross_norm, d, layer.eps, q);
                rope(q, model.cross_cos + position, model.cross_sin + position, d, layer.cross_scale);
            }
        }
        team.wait();
        const Input made = attend_heads(layer.cross_o, {model.cross_heads, model.cross_kv_heads, d, c.most_keys, index, c.read,
                                                        c.position, c.row, c.read_end, nullptr, nullptr});
        add_linear(layer.cross_o, made, nullptr, layer.eps);
        team.wait();
    }

    // This thread's share of all heads of all tokens; those of one key head one after another, since they share its keys. Returns
    // what `out` is given: heads that are not of whole groups are rounded when all are there.
    Input attend_heads(const Linear& out, const View& view) const {
        const int groups = view.heads / view.kv_heads, each = m * groups, all = m * view.heads, ld = view.heads * view.dim;
        const bool rounds = out.integer, whole = view.dim % GROUP == 0;
        for (int n = team.from(all), next, stop = team.to(all); n < stop; n = next) {
            const int kv_head = n / each, first = n % each, slot = c.row[first / groups];
            const int most = std::min({each, first + stop - n, first + QUERY_BLOCK});
            int last = first;
            while (last < most && c.row[last / groups] == slot) last++;
            next = n + last - first;
            attend(view, kv_head, first, last, rounds && whole);
        }
        team.wait();
        if (!rounds || whole) return {attended, ld, codes, ldc};
        for (int row = low; row < high; row++) round_row(attended + row * ld, ld, codes + row * ldc);
        team.wait();
        return {attended, ld, codes, ldc};
    }

    // Of queries [first, last) of one key head, all of one slot, counted token by token.
    void attend(const View& view, int kv_head, int first, int last, bool rounds) const {
        const int groups = view.heads / view.kv_heads, d = view.dim, count = last - first;
        Query queries[QUERY_BLOCK];
        for (int n = first; n < last; n++) {
            const int row = n / groups, head = kv_head * groups + n % groups;
            queries[n - first] = {visible(view, row), qkv + row * at.qkv_width + head * d,
                                  scores + int64_t(n - first) * view.most_keys, attended + (row * view.heads + head) * d};
        }
        const Held& held = view.held[c.row[first / groups]];
        const C* keys = (const C*)held.layers[view.layer] + kv_head * held.capacity * d;
        Attention<C>{held, keys, keys + view.kv_heads * held.capacity * d, d, count, queries, widened}.run();
        for (int n = first; rounds && n < last; n++)
            round_row(queries[n - first].made, d, codes + n / groups * ldc + (kv_head * groups + n % groups) * d / GROUP);
    }

    void mlp(const Layer& layer) const {
        const int64_t inner = layer.down.in;
        gemm<2>(team, layer.gate_up, normed(layer.gate_up, layer.before_mlp, layer.eps), m,
                [&](int row, int rows, int first, int n, const Sums* sums) {
            for (int i = 0; i < rows; i++) {
                float made[TILE];
                for (int j = 0; j < n; j += LANES) {
                    V gate = load(sums[0][i] + j), up = load(sums[1][i] + j);
                    store(made + j, gate / (1.0f + exp_of(-gate)) * up);
                }
                if (layer.down.integer) round_row(made, TILE, gated_codes + ((row + i) * inner + first) / GROUP);
                else std::copy_n(made, n, gated + (row + i) * inner + first);
            }
        });
        team.wait();
        add_linear(layer.down, {gated, inner, gated_codes, inner / GROUP}, layer.after_mlp, layer.eps);
    }

    void write_logits() const {
        const Linear& head = model.head;
        team.wait();
        for (int row = team.from(c.l); row < team.to(c.l); row++) {
            if (model.norm) rms_norm(x + c.wanted[row] * width, model.norm, width, model.eps, h + row * width);
            else std::copy_n(x + c.wanted[row] * width, width, h + row * width);
            if (head.integer) round_row(h + row * width, width, codes + row * ldc);
        }
        team.wait();
        gemm(team, head, {h, width, codes, ldc}, c.l, [&](int row, int rows, int first, int n, const Sums* sums) {
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < n; j++) {
                    const float made = (*sums)[i][j] + (head.bias ? head.bias[first + j] : 0.0f);
                    const int64_t place = (row + i) * int64_t(head.out) + first + j;
                    if (model.half) put((bf16*)c.logits + place, made);
                    else put((float*)c.logits + place, made);
                }
        });
    }
};

}  // namespace
