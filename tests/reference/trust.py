"""How far activations may speak, cell by cell and map by map (models/a2gnn/trust.py)."""


def activation_share(activations, own):
    total = inside = cells = 0.0
    for row in range(activations.shape[0]):
        for column in range(activations.shape[1]):
            total += float(activations[row, column])
            if own[row, column]:
                inside += float(activations[row, column])
                cells += 1
    return (inside / total if total else 0.0), cells / activations.size


def class_trust(category, categories, shares, chances):
    known, knowable = 0.0, 1.0
    for index, other in enumerate(categories):
        if other == category:
            known += shares[index] - chances[index]
            knowable += 1.0 - chances[index]
    return max(-1.0, known / knowable)


def map_trust(index, categories, shares, chances):
    of_class = class_trust(categories[index], categories, shares, chances)
    return max(-1.0, (shares[index] - chances[index] + of_class) / (1.0 - chances[index] + 1.0))
