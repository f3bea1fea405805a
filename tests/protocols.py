"""No tests: what the type checker holds. Tasks and data fit the protocols through which a run knows them."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from torch import nn

from sparsity.data.images.noise import NoiseData
from sparsity.data.images.streaming import StreamedData
from sparsity.data.text import TextData
from sparsity.data.texts.seq2seq import TextSplit
from sparsity.data.vision import ImageData
from sparsity.run.experiment import Data
from sparsity.training.tasks import Batch, Classification, Task
from sparsity.training.translation import EvaluationText, TextBatch, Translation

if TYPE_CHECKING:
    from transformers import BartForConditionalGeneration


def known_as_data(data: ImageData | NoiseData | StreamedData | TextData) -> Data:
    return data


def classifies(task: Classification) -> Task[nn.Module, Batch, Iterable[Batch]]:
    return task


def translates(task: Translation) -> Task["BartForConditionalGeneration", TextBatch, EvaluationText]:
    return task


def evaluated_by_translation(data: TextData) -> Callable[[TextSplit], EvaluationText]:
    return data.evaluation_batches
