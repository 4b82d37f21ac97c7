// What a row meets by itself: RMS norm and rotary positions.
#pragma once

#include <cmath>

#include "simd.h"

namespace {

// y = x / rms(x) * weight, over n numbers.
void rms_norm(const float* x, const float* weight, int n, float eps, float* y) {
    const float scale = 1.0f / std::sqrt(dot(x, x, n) / n + eps);
    for (int i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}

// Rotated in place: x cos + (halves swapped) sin, times scale.
void rope(float* x, const float* cos, const float* sin, int d, float scale) {
    for (int i = 0; i < d / 2; i++) {
        const float a = x[i], b = x[i + d / 2];
        x[i] = madd(a, cos[i], b * sin[i]) * scale;
        x[i + d / 2] = madd(b, cos[i + d / 2], a * sin[i + d / 2]) * scale;
    }
}

}  // namespace
