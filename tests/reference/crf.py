"""Mean field of the fully connected CRF with exact Gaussian kernels: every pair of pixels."""

import numpy as np


def kernel_matrix(features, weight):
    """[N, N] Gaussian of the distances times `weight`; a pixel is a neighbour of itself.

    Normalised symmetrically: divided by sqrt(n_i n_j), n_i the sum of row i.
    """
    difference = features[:, None, :] - features[None, :, :]
    kernel = np.exp(-0.5 * (difference**2).sum(axis=-1))
    share = 1 / np.sqrt(kernel.sum(axis=1))
    return weight * kernel * share[:, None] * share[None, :]


def dense_crf(
    probabilities,
    image,
    iterations,
    gaussian_xy,
    gaussian_compat,
    bilateral_xy,
    bilateral_rgb,
    bilateral_compat,
):
    """Refined probabilities [C, H, W]; Potts compatibility, parallel updates."""
    classes, height, width = probabilities.shape
    rows, columns = np.mgrid[:height, :width]
    place = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)
    colour = image.reshape(-1, 3).astype(float)
    near = kernel_matrix(place / gaussian_xy, gaussian_compat)
    alike = kernel_matrix(
        np.concatenate([place / bilateral_xy, colour / bilateral_rgb], axis=1), bilateral_compat
    )
    unary = -np.log(probabilities.reshape(classes, -1))
    belief = _softmax(-unary)
    for _ in range(iterations):
        # Agreement with the neighbours lowers the energy: Potts up to a constant.
        belief = _softmax(-unary + belief @ near + belief @ alike)
    return belief.reshape(classes, height, width)


def _softmax(scores):
    shifted = np.exp(scores - scores.max(axis=0))
    return shifted / shifted.sum(axis=0)


def allowed_only(probabilities, allowed, fallback):
    """Pixel by pixel: forbidden classes have nothing, and `fallback` all where none has any."""
    result = np.zeros_like(probabilities)
    for row, column in np.ndindex(probabilities.shape[1:]):
        for label in range(len(probabilities)):
            if allowed[label, row, column]:
                result[label, row, column] = probabilities[label, row, column]
        if not result[:, row, column].any():
            result[fallback, row, column] = 1
    return result
