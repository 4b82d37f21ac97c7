// A decoder forward for llama-type layers on a CPU: from token ids to logits in one call, by one team of threads.
//
// Every number is made by one fixed sequence of operations that depends on its own token's prefix alone: a linear's output is
// summed over its inputs in order, a query's keys are taken in the order of the text, wherever they lie. So a token's logits are
// the same bits whether it is decoded alone, verified in a chain or a tree, or batched with other rows. Activations and sums are
// fp32; a linear's weights may be bf16 whatever the cache is, since fp32 weights that came from a bf16 checkpoint lose nothing by
// it, or int8, for drafting models.

#include "attention.h"
#include "batch.h"
#include "gemm.h"
#include "model.h"
#include "norm_rope.h"
#include "top_k.h"

namespace {

// Norm and rotation of a token's queries for another model's keys.
void rope_cross(const Model& model, const Layer& layer, const Batch& c, int m, float* q) {
    const int d = model.cross_dim;
    const float *cos = model.cross_cos + int64_t(c.position[m]) * d, *sin = model.cross_sin + int64_t(c.position[m]) * d;
    for (int h = 0; h < model.cross_heads; h++) {
        if (layer.cross_norm) rms_norm(q + h * d, layer.cross_norm, d, layer.eps, q + h * d);
        rope(q + h * d, cos, sin, d, layer.cross_scale);
    }
}

// Norms and rotation of queries and keys, and the new keys' and values' way into the cache, for one token.
template <class C>
void write_kv(const Model& model, const Layer& layer, const Batch& c, int index, int m, float* qkv) {
    const int d = model.dim, hq = model.heads, hk = model.kv_heads;
    float *q = qkv, *k = qkv + hq * d, *v = k + hk * d;
    if (layer.q_norm && layer.norm_heads) {
        for (int h = 0; h < hq; h++) rms_norm(q + h * d, layer.q_norm, d, layer.eps, q + h * d);
        for (int h = 0; h < hk; h++) rms_norm(k + h * d, layer.k_norm, d, layer.eps, k + h * d);
    } else if (layer.q_norm) {
        rms_norm(q, layer.q_norm, hq * d, layer.eps, q);
        rms_norm(k, layer.k_norm, hk * d, layer.eps, k);
    }
    const float *cos = model.cos + int64_t(c.position[m]) * d, *sin = model.sin + int64_t(c.position[m]) * d;
    for (int h = 0; h < hq; h++) rope(q + h * d, cos, sin, d, layer.scale);
    if (c.queries) std::copy_n(q, hq * d, c.queries + (int64_t(index) * c.m + m) * hq * d);
    const Held& held = c.held[c.reach[index].group * c.count + c.row[m]];
    C* cache = (C*)held.layers[c.reach[index].place] + (c.place[m] - held.dropped) * d;
    for (int h = 0; h < hk; h++) {
        rope(k + h * d, cos, sin, d, 1.0f);
        for (int i = 0; i < d; i++) {
            put(cache + h * held.capacity * d + i, k[h * d + i]);
            put(cache + (hk + h) * held.capacity * d + i, v[h * d + i]);
        }
    }
}

template <class C>
void run(const Model& model, const Batch& c) {
    const int m = c.m, width = model.width, d = model.dim, hq = model.heads, groups = hq / model.kv_heads;
    const int64_t inner = std::max({width, hq * d, model.cross_heads * model.cross_dim});
    const int64_t joint = std::max<int64_t>((hq + 2 * model.kv_heads) * d, model.cross_heads * model.cross_dim);
    const int most_groups = std::max(groups, model.cross_heads ? model.cross_heads / model.cross_kv_heads : 0);
    float *x = c.work, *h = x + m * int64_t(width), *qkv = h + m * inner, *a = qkv + m * joint;
    float *g = a + m * inner, *scores = g + m * int64_t(model.ffn);
    // Tokens of one slot, QUERY_BLOCK at a time: all that attention takes together.
    int chunks = 0;
    const int64_t own = int64_t(std::min(QUERY_BLOCK, m)) * most_groups * c.most_keys + KEY_BLOCK * std::max(d, model.cross_dim);
    int32_t* chunk = (int32_t*)(scores + c.threads * own);
    for (int row = 0; row < m; row++)
        if (!chunks || c.row[row] != c.row[chunk[chunks - 1]] || row - chunk[chunks - 1] == QUERY_BLOCK) chunk[chunks++] = row;
    chunk[chunks] = m;
#pragma omp parallel num_threads(c.threads)
    {
        const Team team{omp_get_thread_num(), omp_get_num_threads()};
        float *mine = scores + team.id * own, *block = mine + own - KEY_BLOCK * std::max(d, model.cross_dim);
        const int low = team.from(m), high = team.to(m);
        auto normed = [&](const float* weight, float eps) -> const float* {  // x itself where there is no norm
            if (!weight) return x;
            for (int row = low; row < high; row++) rms_norm(x + row * width, weight, width, eps, h + row * width);
            team.wait();
            return h;
        };
        auto add_normed = [&](const float* weight, float eps) {  // x += norm(h)
            team.wait();
            for (int row = low; row < high; row++) {
                rms_norm(h + row * width, weight, width, eps, h + row * width);
                for (int i = 0; i < width; i++) x[row * width + i] += h[row * width + i];
            }
        };
        // This thread's share of all query heads, each with its chunks; heads of one key head together: they share its keys.
        auto attend_all = [&](const View& view, const float* q, int64_t ldq, float* out, int64_t ldo) {
            const int groups = view.heads / view.kv_heads, all = view.heads * chunks, from = team.from(all), to = team.to(all);
            const auto first_head = [&](int share, int i) { return (share - i + chunks - 1) / chunks; };  // h chunks + i >= share
            for (int low = 0; low < view.heads; low += groups)
                for (int i = 0; i < chunks; i++) {
                    const int head = std::max(low, first_head(from, i)), heads = std::min(low + groups, first_head(to, i)) - head;
                    const int first = chunk[i], rows = chunk[i + 1] - first;
                    if (heads > 0) attend_any<C>(view, head, heads, first, rows, q, ldq, out, ldo, mine, block);
                }
        };
        for (int row = low; row < high; row++)
            for (int i = 0; i < width; i++)
                x[row * width + i] = get(((const C*)model.embedding)[int64_t(c.token[row]) * width + i]);
        for (int index = 0; index < model.count; index++) {
            const Layer& layer = model.layers[index];
            team.wait();
            linear_to(team, layer.qkv, normed(layer.before_attention, layer.eps), width, m, qkv, joint, false);
            team.wait();
            for (int row = low; row < high; row++) write_kv<C>(model, layer, c, index, row, qkv + row * joint);
            team.wait();
            if (index == model.count - 1 && !c.l) break;  // a prefill is done once the last keys are in place
            const Reach& reach = c.reach[index];
            const View own{hq, model.kv_heads, d, reach.window, c.most_keys, reach.place, c.held + reach.group * c.count,
                           c.position, c.row, c.end, c.paths, c.path_start};
            attend_all(own, qkv, joint, a, hq * d);
            team.wait();
            float* into = layer.after_attention ? h : x;
            linear_to(team, layer.o, a, hq * d, m, into, width, !layer.after_attention);
            if (layer.after_attention) add_normed(layer.after_attention, layer.eps);
            team.wait();
            if (layer.cross_q.in) {
                const int cross = model.cross_heads * model.cross_dim;
                linear_to(team, layer.cross_q, normed(layer.before_cross, layer.eps), width, m, qkv, joint, false);
                team.wait();
                for (int row = low; row < high; row++) rope_cross(model, layer, c, row, qkv + row * joint);
                team.wait();
                const View other{model.cross_heads, model.cross_kv_heads, model.cross_dim, 0, c.most_keys, index, c.read,
                                 c.position, c.row, c.read_end, nullptr, nullptr};
                attend_all(other, qkv, joint, a, cross);
                team.wait();
                linear_to(team, layer.cross_o, a, cross, m, x, width, true);
                team.wait();
            }
            gemm<2>(team, layer.gate_up, normed(layer.before_mlp, layer.eps), width, m,
                        [&](int row, int rows, int first, int n, const Sums* sums) {
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < n; j += LANES) {
                        V gate = load(sums[0][i] + j), up = load(sums[1][i] + j);
                        float made[LANES];
                        store(made, gate / (1.0f + exp_of(-gate)) * up);
                        std::copy_n(made, std::min(LANES, n - j), g + (row + i) * int64_t(layer.down.in) + first + j);
                    }
            });
            team.wait();
            into = layer.after_mlp ? h : x;
            linear_to(team, layer.down, g, layer.down.in, m, into, width, !layer.after_mlp);
            if (layer.after_mlp) add_normed(layer.after_mlp, layer.eps);
        }
        if (c.l) {
            team.wait();
            for (int row = team.from(c.l); row < team.to(c.l); row++)
                if (model.norm) rms_norm(x + c.wanted[row] * width, model.norm, width, model.eps, h + row * width);
                else std::copy_n(x + c.wanted[row] * width, width, h + row * width);
            team.wait();
            gemm(team, model.head, h, width, c.l, [&](int row, int rows, int first, int n, const Sums* sums) {
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < n; j++)
                        put((C*)c.logits + (row + i) * int64_t(model.head.out) + first + j,
                            (*sums)[i][j] + (model.head.bias ? model.head.bias[first + j] : 0.0f));
            });
        }
    }
}

void run_any(const Model& model, const Batch& batch) { model.half ? run<bf16>(model, batch) : run<float>(model, batch); }

thread_local Workspace workspace;

}  // namespace

void EXPORTED(gemm)(const Linear* linear, const float* x, int32_t m, float* y, int32_t threads) {
#pragma omp parallel num_threads(threads)
    linear_to({omp_get_thread_num(), omp_get_num_threads()}, *linear, x, linear->in, m, y, linear->out, false);
}

float EXPORTED(softmax)(float* scores, int32_t n) { return softmax(scores, n); }

void EXPORTED(rope)(float* x, const float* cos, const float* sin, int32_t d, float scale) { rope(x, cos, sin, d, scale); }

int32_t EXPORTED(size_of)(int32_t what) { return what == 0 ? sizeof(Layer) : what == 1 ? sizeof(Model) : sizeof(Call); }

int32_t EXPORTED(forward)(const Model* model, const Call* call) {
    Batch batch;
    const Fault fault = expand_batch(*model, *call, 1, workspace, batch);
    if (fault == NONE) run_any(*model, batch);
    return fault;
}

// Greedy continuation: the call's wanted tokens are the last ones of their rows, L of them; each row gets up to `steps` more.
// top_tokens, probs: [steps, L, top], the likeliest tokens at each place and their probabilities; the first one is drafted. It is
// -1 from where the chance of the row's path falls below `min_chance` or, but for the first token, below `token_cost` times the
// tokens for each plain step that the row's round has so far, at least 1. The chance is the product of probabilities, or of
// calibration[row * bins + bin of the probability]. All drafted tokens but the last are also fed; their keys go behind the row's.
int32_t EXPORTED(extend)(const Model* model, const Call* call, int32_t steps, float min_chance, float token_cost,
                         const float* calibration, int32_t bins, int32_t top, int32_t* top_tokens, float* probs) {
    Batch first;
    if (const Fault fault = expand_batch(*model, *call, steps, workspace, first); fault != NONE) return fault;
    const int l = call->l, v = model->head.out;
    std::fill_n(top_tokens, steps * l * top, -1);
    int32_t *numbers = workspace.later.of(8 * int64_t(l) + 1), *kept = workspace.kept.of(int64_t(l) * PIECES * top);
    float* path = workspace.path_probs.of(2 * int64_t(l));
    Piece* pieces = workspace.pieces.of(int64_t(l) * PIECES);
    if (!numbers || !kept || !path || !pieces) return NO_MEMORY;
    const auto take = [&](int64_t n) { return std::exchange(numbers, numbers + n); };
    int32_t *next = take(l), *position = take(l), *from = take(l), *place = take(l), *end = take(l);
    int32_t *each = take(l), *read_end = take(l), *none = take(l + 1);
    float* gain = path + l;
    std::fill_n(path, 2 * l, 1.0f);
    std::fill_n(none, l + 1, 0);
    for (int i = 0; i < l; i++) {
        const int row = first.wanted[i];
        position[i] = first.position[row], from[i] = first.row[row], place[i] = first.place[row];
        each[i] = i, read_end[i] = first.read_end[row];
    }
    Batch later = first;
    later.token = next, later.position = position, later.row = from, later.place = place, later.end = end;
    later.path_start = none, later.wanted = each, later.read_end = read_end, later.m = l;
    for (int step = 0; step < steps; step++, top_tokens += int64_t(l) * top, probs += int64_t(l) * top) {
        run_any(*model, step ? later : first);
        if (model->half) top_k((const bf16*)call->logits, l, v, top, pieces, kept, call->threads, top_tokens, probs);
        else top_k((const float*)call->logits, l, v, top, pieces, kept, call->threads, top_tokens, probs);
        bool going = false;
        for (int i = 0; i < l; i++) {
            int32_t& token = top_tokens[int64_t(i) * top];
            const float prob = probs[int64_t(i) * top];
            next[i] = token;
            path[i] *= bins ? calibration[i * bins + std::max(0, std::min(bins - 1, int(prob * bins)))] : prob;
            if (!(prob >= 0)) path[i] = -1.0f;  // no number: nothing is drafted
            const float worth = step ? token_cost * std::max(1.0f, gain[i] / (1 + step * token_cost)) : 0.0f;
            if (path[i] >= std::max(min_chance, worth)) going = true, gain[i] += path[i];
            else token = -1, path[i] = -1.0f;
        }
        if (!going) break;
        for (int i = 0; i < l; i++) position[i]++, end[i] = ++place[i] + 1;
    }
    return NONE;
}
