"""Cross-modal interactions as cards: a matrix of segments for each pair of modalities."""

from mviz_lightning.explainers.card import OUTPUT_COLUMNS, ExampleDisplay, array, examples_card, output_title
from mviz_lightning.explainers.cross_modal_interaction.result import (
    CrossModalResult,
    ExampleInteractions,
    OutputInteractions,
    PairInteraction,
)
from mviz_lightning.notebook.card import Card, TidyRows, stacked_rows
from mviz_lightning.plotting.diagrams import Matrix, number_words

COLUMNS = (
    *OUTPUT_COLUMNS,
    *("role", "value", "first", "first_segment", "first_name", "second", "second_segment"),
    *("second_name", "weight", "method"),
)


def interactions_card(one: ExampleInteractions) -> Card:
    """Return the card of one example."""
    shown = ExampleDisplay(one)
    lines = [_line(shown, output, pair) for output in one.outputs for pair in output.pairs]
    matrices = [_matrix(shown, output, pair) for output in one.outputs for pair in output.pairs]
    reasons = dict.fromkeys(pair.reason for output in one.outputs for pair in output.pairs if pair.reason)
    verdict = lines[0] if lines else shown.headline
    return Card(verdict, matrices, _frame(one), lines[1:], list(reasons), shown.headline)


def _names(shown: ExampleDisplay, pair: PairInteraction) -> tuple[list[str], list[str]]:
    rows, columns = pair.weights.shape
    return shown.names(pair.first, rows), shown.names(pair.second, columns)


def _line(shown: ExampleDisplay, output: OutputInteractions, pair: PairInteraction) -> str:
    """Return the two segments with the strongest interaction, in words."""
    title = output_title(shown.labels, output.output, output.role)
    if not (pair.weights.numel() and pair.has_effect):
        return f"{title}: {pair.first} and {pair.second} add nothing together"
    row, column = divmod(int(pair.weights.abs().argmax()), pair.weights.shape[1])
    rows, columns = _names(shown, pair)
    weight = number_words(float(pair.weights[row, column]))
    return f"{title}: {rows[row]} ({pair.first}) and {columns[column]} ({pair.second}) add most together, {weight}"


def _matrix(shown: ExampleDisplay, output: OutputInteractions, pair: PairInteraction) -> Matrix:
    """Return the matrix with its longer side vertical, where there is room for names."""
    rows, columns = _names(shown, pair)
    first, second, weights = pair.first, pair.second, array(pair.weights)
    if len(rows) < len(columns):
        rows, columns, first, second, weights = columns, rows, second, first, weights.T
    title = f"{output_title(shown.labels, output.output, output.role)}: {first} (rows) with {second} (columns)"
    return Matrix(title, rows, columns, weights)


def _frame(one: ExampleInteractions) -> TidyRows:
    shown = ExampleDisplay(one)
    rows = []
    for output in one.outputs:
        before = [*shown.cells(output.output), output.role, output.value]
        for pair in output.pairs:
            names, others = _names(shown, pair)
            rows += [
                [*before, pair.first, row, names[row], pair.second, column, others[column], weight, pair.method]
                for row, line in enumerate(pair.weights.tolist())
                for column, weight in enumerate(line)
            ]
    return TidyRows(COLUMNS, rows)


def cross_modal_card(result: CrossModalResult) -> Card:
    """Return the card of all examples."""
    cards = [interactions_card(one) for one in result.examples]
    return examples_card(result, cards, "with what acts together", stacked_rows([card.frame for card in cards]))
