"""The expert's short script: features of the plain centre crop once, then scikit-learn's logistic regression.

    timm_sklearn.py --data DIR --model FILE.py:factory --weights FILE [--fast]

No augmentation and no tuning, so it does less than `fit --strategies probe`.
"""

from __future__ import annotations

import numpy as np
import torch
from common import options, result
from network import build, loaders
from sklearn.linear_model import LogisticRegression


def main() -> None:
    """Extract, solve, score on val."""
    args = options(__doc__).parse_args()
    layout = torch.channels_last if args.fast else torch.contiguous_format
    model = build(args.model, args.weights, classes=1000).eval().to(memory_format=layout)
    model.reset_classifier(0)  # type: ignore[operator]  # timm: pooled features come out
    features, labels = {}, {}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=args.fast):
        for part, batches in loaders(args.data, args.model, augment=False).items():
            pairs = [(model(x.to(memory_format=layout)).float().numpy(), y.numpy()) for x, y in batches]
            features[part] = np.concatenate([x for x, _ in pairs])
            labels[part] = np.concatenate([y for _, y in pairs])
    head = LogisticRegression(max_iter=1000).fit(features["train"], labels["train"])
    result(accuracy=float(head.score(features["val"], labels["val"])), steps=0)


if __name__ == "__main__":
    main()
