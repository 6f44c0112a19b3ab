"""The formulas themselves, as loops over NumPy float64 arrays: slow, and easy to check by eye.

Nothing here uses the code under test. Images are [N, *space, C].
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def cells(*sizes):
    """All index tuples of a grid."""
    return itertools.product(*(range(size) for size in sizes))


def out_sizes(space, window, stride, pads, dilation):
    return [
        (size + low + high - (d * (f - 1) + 1)) // s + 1
        for size, f, s, (low, high), d in zip(space, window, stride, pads, dilation, strict=True)
    ]


def taps(place, window, stride, pads, dilation):
    """(tap, input cell) of one output place; cells outside the input included."""
    for tap in cells(*window):
        yield (
            tap,
            tuple(
                s * i + d * f - low
                for i, f, s, (low, _), d in zip(place, tap, stride, pads, dilation, strict=True)
            ),
        )


def inside(cell, space):
    return all(0 <= i < size for i, size in zip(cell, space, strict=True))


def conv(x, kernel, bias, *, stride, pads, dilation, groups):
    """y[n, i, o] = bias[o] + sum_{f, c} kernel[f, c, o] x[n, S i + D f - P, c]"""
    space, window = x.shape[1:-1], kernel.shape[:-2]
    out = out_sizes(space, window, stride, pads, dilation)
    y = np.zeros((x.shape[0], *out, kernel.shape[-1]))
    inner, per = kernel.shape[-2], kernel.shape[-1] // groups
    for n, *place in cells(x.shape[0], *out):
        for tap, cell in taps(place, window, stride, pads, dilation):
            if inside(cell, space):
                for c, o in cells(inner, kernel.shape[-1]):
                    y[(n, *place, o)] += kernel[(*tap, c, o)] * x[(n, *cell, o // per * inner + c)]
    return y + bias


def conv_gradients(x, kernel, g, *, stride, pads, dilation, groups):
    """Of sum(g * conv(x, kernel, bias)): with respect to x, kernel and bias."""
    space, window = x.shape[1:-1], kernel.shape[:-2]
    inner, per = kernel.shape[-2], kernel.shape[-1] // groups
    dx, dk = np.zeros(x.shape), np.zeros(kernel.shape)
    for n, *place in cells(*g.shape[:-1]):
        for tap, cell in taps(place, window, stride, pads, dilation):
            if inside(cell, space):
                for c, o in cells(inner, kernel.shape[-1]):
                    at = (n, *cell, o // per * inner + c)
                    dx[at] += kernel[(*tap, c, o)] * g[(n, *place, o)]
                    dk[(*tap, c, o)] += x[at] * g[(n, *place, o)]
    return dx, dk, g.sum(axis=tuple(range(g.ndim - 1)))


def conv_transpose(x, kernel, bias, *, size, stride, pads, dilation, groups):
    """y[n, S i + D f - P, c] += kernel[f, c, o] x[n, i, o]"""
    window = kernel.shape[:-2]
    inner, per = kernel.shape[-2], kernel.shape[-1] // groups
    y = np.zeros((x.shape[0], *size, inner * groups))
    for n, *place in cells(*x.shape[:-1]):
        for tap, cell in taps(place, window, stride, pads, dilation):
            if inside(cell, size):
                for c, o in cells(inner, kernel.shape[-1]):
                    y[(n, *cell, o // per * inner + c)] += kernel[(*tap, c, o)] * x[(n, *place, o)]
    return y + bias


def locally_connected(x, kernel, bias, *, window, stride, pads, dilation):
    """y[n, i, o] = bias[i, o] + sum_{c, f} kernel[i, (c, f), o] x[n, S i + D f - P, c]"""
    space = x.shape[1:-1]
    out = out_sizes(space, window, stride, pads, dilation)
    y = np.zeros((x.shape[0], *out, kernel.shape[-1]))
    for n, *place in cells(x.shape[0], *out):
        for number, (_, cell) in enumerate(taps(place, window, stride, pads, dilation)):
            if inside(cell, space):
                for c, o in cells(x.shape[-1], kernel.shape[-1]):
                    row = c * math.prod(window) + number
                    y[(n, *place, o)] += kernel[(*place, row, o)] * x[(n, *cell, c)]
    return y + bias


def pool(x, kind, *, window, stride, pads):
    """Maximum, sum or mean of each window; padded cells are no candidates, or zeros."""
    space, ones = x.shape[1:-1], [1] * len(window)
    out = out_sizes(space, window, stride, pads, ones)
    y = np.zeros((x.shape[0], *out, x.shape[-1]))
    for n, *place, c in cells(*y.shape):
        seen = [
            x[(n, *cell, c)]
            for _, cell in taps(place, window, stride, pads, ones)
            if inside(cell, space)
        ]
        total = max(seen) if kind == "max" else sum(seen)
        y[(n, *place, c)] = total / math.prod(window) if kind == "avg" else total
    return y


def layer_norm(x, scale, bias, epsilon):
    """(x - mean) / sqrt(var + epsilon) over the channels of each place."""
    y = np.zeros(x.shape)
    for at in cells(*x.shape[:-1]):
        mean = sum(x[at]) / x.shape[-1]
        variance = sum((v - mean) ** 2 for v in x[at]) / x.shape[-1]
        for c in range(x.shape[-1]):
            y[(*at, c)] = scale[c] * (x[(*at, c)] - mean) / math.sqrt(variance + epsilon) + bias[c]
    return y


def group_norm(x, scale, bias, groups, epsilon):
    """(x - mean) / sqrt(var + epsilon) over space and a group of channels."""
    y, per = np.zeros(x.shape), x.shape[-1] // groups
    for n, group in cells(x.shape[0], groups):
        members = [(n, *at, group * per + c) for at in cells(*x.shape[1:-1]) for c in range(per)]
        values = [x[at] for at in members]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        for at in members:
            y[at] = scale[at[-1]] * (x[at] - mean) / math.sqrt(variance + epsilon) + bias[at[-1]]
    return y


def local_response_norm(x, window, k, alpha, beta):
    """x_c / (k + alpha sum_{j = c - n/2}^{c + n/2} x_j^2)^beta"""
    y, half = np.zeros(x.shape), window // 2
    for *at, c in cells(*x.shape):
        near = range(max(0, c - half), min(x.shape[-1], c + half + 1))
        energy = sum(x[(*at, j)] ** 2 for j in near)
        y[(*at, c)] = x[(*at, c)] / (k + alpha * energy) ** beta
    return y


def maxout(x, kernel, bias, pieces):
    """max over pieces p of w_p . x + b_p"""
    outputs = kernel.shape[1] // pieces
    y = np.zeros((x.shape[0], outputs))
    for n, o in cells(x.shape[0], outputs):
        y[n, o] = max(
            sum(x[n, i] * kernel[i, o * pieces + p] for i in range(x.shape[1]))
            + bias[o * pieces + p]
            for p in range(pieces)
        )
    return y


def channel_pool(x, window):
    """max over groups of neighbouring channels"""
    y = np.zeros((*x.shape[:-1], x.shape[-1] // window))
    for *at, c in cells(*y.shape):
        y[(*at, c)] = max(x[(*at, window * c + j)] for j in range(window))
    return y


def attention(query, key, value):
    """sum_k softmax_k(q . k / sqrt(d)) v_k for each head"""
    y = np.zeros((*query.shape[:3], value.shape[-1]))
    for n, q, h in cells(*query.shape[:3]):
        scores = [
            sum(query[n, q, h, d] * key[n, k, h, d] for d in range(query.shape[-1]))
            / math.sqrt(query.shape[-1])
            for k in range(key.shape[1])
        ]
        weights = [math.exp(score) for score in scores]
        for k, weight in enumerate(weights):
            y[n, q, h] += weight / sum(weights) * value[n, k, h]
    return y


def gradients(function, arguments, g, step=1e-5):
    """Of sum(g * function(*arguments)): central differences, one entry after the other."""
    found = []
    for number, argument in enumerate(arguments):
        slope = np.zeros(argument.shape)
        for at in cells(*argument.shape):
            ends = []
            for sign in (1, -1):
                moved = [np.array(each) for each in arguments]
                moved[number][at] += sign * step
                ends.append(np.sum(g * function(*moved)))
            slope[at] = (ends[0] - ends[1]) / (2 * step)
        found.append(slope)
    return found
