"""scikit-learn's MLPClassifier, one partial_fit an epoch: that takes each epoch's time, and shuffles as fit does."""

from bench.task import BATCH, EPOCHS, HIDDEN, LR, Clock, arrays

from sklearn.neural_network import MLPClassifier

images, labels = arrays()
model = MLPClassifier(
    (HIDDEN,), activation="logistic", solver="sgd", alpha=0, batch_size=BATCH, learning_rate_init=LR, momentum=0,
    nesterovs_momentum=False, random_state=0,
)  # fmt: skip
clock = Clock()
for _ in range(EPOCHS):
    model.partial_fit(images, labels, classes=range(10))
    clock.epoch(model.loss_)
clock.report()
