"""Layers of the compiled networks: tanh, sparse first layer, dense layer, GRU cell; forward and gradient.

All arrays are float32. ``rows`` [n] names which row of a table of observations each sample is, so that
minibatches need no copies. Products go through BLAS (np.dot), which does better than any loop of ours.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import Scalar, jit_inline

Floats = NDArray[np.float32]

# Rational approximation x P(x^2) / Q(x^2) of tanh on [-8, 8], fitted in Chebyshev nodes to least relative
# error (1.5e-7; 4e-7 absolute in float32). np.tanh calls libm per element and does not vectorise.
_P0, _P1, _P2, _P3 = map(np.float32, (9.999998544e-01, 1.292566354e-01, 2.951024303e-03, 1.142842762e-05))
_Q1, _Q2, _Q3, _Q4 = map(np.float32, (4.625887914e-01, 2.381555650e-02, 2.386692335e-04, 2.459211948e-07))
_LIMIT = np.float32(8.0)
_ONE = np.float32(1.0)
_HALF = np.float32(0.5)


@jit_inline
def fast_tanh(x: Scalar) -> Scalar:
    """Hyperbolic tangent in float32, absolute error below 5e-7; NaN stays NaN."""
    x = _LIMIT if x > _LIMIT else x
    x = -_LIMIT if x < -_LIMIT else x
    t = x * x
    return x * (_P0 + t * (_P1 + t * (_P2 + t * _P3))) / (_ONE + t * (_Q1 + t * (_Q2 + t * (_Q3 + t * _Q4))))


@jit_inline
def fast_sigmoid(x: Scalar) -> Scalar:
    """Logistic function in float32, absolute error below 5e-7."""
    return _HALF + _HALF * fast_tanh(_HALF * x)


@jit_inline
def tanh_all(x: Floats) -> None:
    """Hyperbolic tangent of every element of ``x`` [n, m], in place."""
    flat = x.reshape(x.size)
    for k in range(flat.shape[0]):
        flat[k] = fast_tanh(flat[k])


@jit_inline
def tanh_gradient(activation: Floats, gradient: Floats) -> None:
    """Turn d loss / d tanh(x) into d loss / d x, in place; both [n, m], ``activation`` = tanh(x)."""
    a, g = activation.reshape(activation.size), gradient.reshape(gradient.size)
    for k in range(g.shape[0]):
        g[k] *= _ONE - a[k] * a[k]


@jit_inline
def dense(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    """Out = x weight + bias: x [n, i], weight [i, o], bias [o], out [n, o]."""
    np.dot(x, weight, out)
    for n in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[n, k] += bias[k]


@jit_inline
def add_column_sums(gradient: Floats, out: Floats) -> None:
    """Out [o] = sum over the rows of gradient [n, o]."""
    out[:] = 0.0
    for n in range(gradient.shape[0]):
        for k in range(gradient.shape[1]):
            out[k] += gradient[n, k]


@jit_inline
def signed_base(weight: Floats, bias: Floats, out: Floats) -> None:
    """First layer of an all-zero observation under the input scaling (x - 0.5) / 0.5: bias - sum of rows."""
    out[:] = bias
    for i in range(weight.shape[0]):
        for k in range(weight.shape[1]):
            out[k] -= weight[i, k]


@jit_inline
def sparse_affine(
    indices: NDArray[np.int16],  # [table rows, bits], active bits
    counts: NDArray[np.int32],  # [table rows]
    rows: NDArray[np.int32],  # [n]
    weight: Floats,  # [bits, o]
    base: Floats,  # [o], output of an observation without active bits
    scale: Scalar,  # 1 for inputs 0 / 1, 2 for inputs -1 / +1
    out: Floats,  # [n, o]
) -> None:
    """First layer on binary inputs: base + scale * sum of the weight rows of the active bits."""
    for n in range(out.shape[0]):
        line = out[n]
        line[:] = 0.0
        row = rows[n]
        for j in range(counts[row]):
            w = weight[indices[row, j]]
            for k in range(line.shape[0]):
                line[k] += w[k]
        for k in range(line.shape[0]):
            line[k] = base[k] + scale * line[k]


@jit_inline
def sparse_affine_gradient(
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    rows: NDArray[np.int32],
    gradient: Floats,  # [n, o]
    scale: Scalar,
    d_weight: Floats,  # [bits, o], out
    d_bias: Floats,  # [o], out
) -> None:
    """Gradient of :func:`sparse_affine` with respect to weight and bias."""
    d_weight[:] = 0.0
    for n in range(gradient.shape[0]):
        line = gradient[n]
        row = rows[n]
        for j in range(counts[row]):
            d = d_weight[indices[row, j]]
            for k in range(line.shape[0]):
                d[k] += line[k]
    add_column_sums(gradient, d_bias)
    if scale != 1.0:  # inputs -1 / +1: every bit that is not set contributes its negative
        for i in range(d_weight.shape[0]):
            for k in range(d_weight.shape[1]):
                d_weight[i, k] = scale * d_weight[i, k] - d_bias[k]


@jit_inline
def gru_cell(
    from_input: Floats,  # [B, 3H]: input part of the gates r, z, n, with bias; becomes the activations
    from_hidden: Floats,  # [B, 3H]: h Wh; its n part gets the bias
    bias_n: Floats,  # [H]
    hidden: Floats,  # [B, H]
    out: Floats,  # [B, H]
) -> None:
    """One step of a GRU (Cho et al., 2014, in the variant of cuDNN): n = tanh(x_n + r (h_n + b_n))."""
    size = hidden.shape[1]
    for b in range(hidden.shape[0]):
        rz, rz_hidden = from_input[b, : 2 * size], from_hidden[b, : 2 * size]
        for k in range(2 * size):
            rz[k] = fast_sigmoid(rz[k] + rz_hidden[k])
        r, n, n_hidden = from_input[b, :size], from_input[b, 2 * size :], from_hidden[b, 2 * size :]
        for k in range(size):
            n_hidden[k] += bias_n[k]
        for k in range(size):
            n[k] = fast_tanh(n[k] + r[k] * n_hidden[k])
        z, h, o = from_input[b, size : 2 * size], hidden[b], out[b]
        for k in range(size):
            o[k] = n[k] + z[k] * (h[k] - n[k])


@jit_inline
def gru_cell_gradient(
    gates: Floats,  # [B, 3H]: activations r, z, n
    from_hidden: Floats,  # [B, 3H]: as left by gru_cell
    hidden: Floats,  # [B, H], before the step
    d_out: Floats,  # [B, H]: d loss / d output; becomes the direct part of d loss / d hidden
    d_input: Floats,  # [B, 3H], out: d loss / d input part
    d_from_hidden: Floats,  # [B, 3H], out: d loss / d (h Wh)
) -> None:
    """Gradient of :func:`gru_cell`."""
    size = hidden.shape[1]
    for b in range(hidden.shape[0]):
        g, gh, h, d, dx, dh = gates[b], from_hidden[b], hidden[b], d_out[b], d_input[b], d_from_hidden[b]
        for k in range(size):
            r, z, n = g[k], g[size + k], g[2 * size + k]
            d_n = d[k] * (_ONE - z) * (_ONE - n * n)
            d_z = d[k] * (h[k] - n) * z * (_ONE - z)
            d_r = d_n * gh[2 * size + k] * r * (_ONE - r)
            dx[k] = d_r
            dx[size + k] = d_z
            dx[2 * size + k] = d_n
            dh[k] = d_r
            dh[size + k] = d_z
            dh[2 * size + k] = d_n * r
            d[k] *= z
