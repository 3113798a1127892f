"""What every formula has to hold to, whatever it says: derivatives, units, and its two sets of parameters."""

import numpy as np

from analysis.law import STEP, Law, jacobian


def check(law: Law, params, table, unit) -> None:
    """Assert it of `law` at published `params` (P,), on the table's rows, for units exp(`unit`) (I,)."""
    params, x = np.asarray(params, dtype=float), law.logs(table)
    theta = law.working(params)[None]
    loss, gradient = law.log_loss(theta, x)
    for p in range(len(law.names)):
        nudged = law.log_loss(theta + 1j * STEP * np.eye(len(law.names))[p], x)[0].imag / STEP
        np.testing.assert_allclose(gradient[:, :, p], nudged, rtol=1e-10, atol=1e-12, err_msg=law.names[p])
    # A complex step says nothing about a branch taken by mistake: a real one does.
    for p in range(len(law.names)):
        h = 1e-6 * np.eye(len(law.names))[p]
        real = (law.log_loss(theta + h, x)[0] - law.log_loss(theta - h, x)[0]) / 2e-6
        np.testing.assert_allclose(gradient[:, :, p], real, rtol=1e-5, atol=1e-7, err_msg=law.names[p])

    weight = np.random.default_rng(0).normal(size=loss.shape)
    slope = jacobian(lambda at: np.einsum("sn,snp->sp", weight, law.log_loss(at, x)[1]), theta)
    np.testing.assert_allclose(law.curvature(theta, x, weight), slope, rtol=1e-9, atol=1e-10)

    elsewhere = law.log_loss(law.rescale(theta, np.asarray(unit), 0.7), x - unit)[0]
    np.testing.assert_allclose(elsewhere, loss - 0.7, rtol=0, atol=1e-11)
    np.testing.assert_allclose(law.published(theta)[0], params, rtol=1e-12)
    low, high = law.bounds.T
    centre, level = x.mean(axis=0), float(loss.mean())
    assert np.shape(law.bounds) == (len(params), 2)
    starts = law.guess(x - centre, loss[0] - level)
    assert starts.shape[1] == len(params)
    assert np.isfinite(starts).all()
    assert (low < high).all()
