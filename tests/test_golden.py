"""The worked examples of the lecture "RNNs for Sequence and Time-series Data", with the numbers that it prints."""

import torch

import rnnfast

EMBEDDING = [
    [-0.1882, 0.5530, 1.6267, 0.7013],
    [1.7840, -0.8278, -0.2701, 1.3586],
    [1.0281, -1.9094, 0.3182, 0.4211],
    [-1.3083, -0.0987, 0.7647, -0.3680],
    [0.2293, 1.3255, 0.1318, 2.0501],
    [0.4058, -0.6624, -0.8745, 0.7203],
    [0.5582, 0.0786, -0.6817, 0.6902],
    [0.4309, -1.3067, -0.8823, 1.5977],
]

FIVE_STEPS = [
    [0.2973, 0.2388, -0.8593],
    [-0.3616, 0.6365, -0.8125],
    [-0.3297, 0.9502, 0.6365],
    [-0.1884, 0.9009, 0.4258],
    [-0.6319, 0.9454, 0.2323],
]


def filled(layer: rnnfast.RNN, **parameters: object) -> rnnfast.RNN:
    state = {name: torch.tensor(value, dtype=torch.float32) for name, value in parameters.items()}
    layer.load_state_dict(state)
    return layer.eval()


def test_a_layer_over_the_five_words_of_we_are_learning_ai() -> None:
    layer = filled(
        rnnfast.RNN(4, 3, batch_first=True),
        weight_ih_l0=[
            [-0.4174, 0.1953, -0.0365, -0.4025],
            [0.4722, -0.4085, -0.0236, 0.3763],
            [0.0550, -0.4921, -0.4307, 0.0855],
        ],
        weight_hh_l0=[
            [-0.5511, 0.1260, 0.0463],
            [-0.2291, -0.2084, -0.2352],
            [-0.4341, -0.2682, 0.0612],
        ],
        bias_ih_l0=[0.4481, 0.5537, -0.5006],
        bias_hh_l0=[0.0135, -0.2209, 0.1330],
    )
    words = torch.tensor(EMBEDDING)[[0, 4, 7, 2, 1]].unsqueeze(0)
    output, h_n = layer(words)
    expected = torch.tensor(FIVE_STEPS)
    torch.testing.assert_close(output[0], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(h_n[0, 0], expected[-1], rtol=0, atol=1e-4)


CELL_IH = [[-0.2, -0.4, 0.3, -0.4], [-0.6, -0.8, 0.5, -0.3], [0.1, -0.1, 0.6, 0.1]]
CELL_HH = [[0.9, -0.1, 0.1], [-0.1, -0.9, 0.3], [0.1, -0.3, -0.9]]
X = torch.tensor([[1.0, 3.0, 2.0, 1.0], [0.0, 4.0, 1.0, 2.0]])


def test_two_steps_of_one_cell() -> None:
    layer = filled(rnnfast.RNN(4, 3, bias=False), weight_ih_l0=CELL_IH, weight_hh_l0=CELL_HH)
    output, _ = layer(X)
    expected = torch.tensor([[-0.833, -0.98, 0.8], [-0.99, -0.97, -0.109]])
    torch.testing.assert_close(output, expected, rtol=0, atol=5e-3)
    # One step at a time, each from the hidden state of the one before.
    first, h = layer(X[:1])
    second, _ = layer(X[1:], h)
    torch.testing.assert_close(torch.cat([first, second]), output)
    pre_activation = torch.tensor([[-1.2, -2.3, 1.1], [-2.67, -2.09, -0.109]])
    torch.testing.assert_close(torch.atanh(output[0]), pre_activation[0], rtol=0, atol=5e-3)
    torch.testing.assert_close(output, torch.tanh(pre_activation), rtol=0, atol=5e-3)


def test_two_layers_on_one_another() -> None:
    layer = filled(rnnfast.RNN(4, 3, bias=False), weight_ih_l0=CELL_IH, weight_hh_l0=CELL_HH)
    above = filled(
        rnnfast.RNN(3, 2, bias=False),
        weight_ih_l0=[[-1.1, 0.3, -0.1], [0.1, -0.2, 0.4]],
        weight_hh_l0=[[0.1, 0.9], [0.9, -0.1]],
    )
    output, _ = above(layer(X)[0])
    expected = torch.tensor([[0.49, 0.407], [0.84, 0.42]])
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-2)


def test_the_classifier_is_a_sigmoid_of_the_last_hidden_state() -> None:
    layer = filled(
        rnnfast.RNN(4, 3, bias=False, batch_first=True),
        weight_ih_l0=[
            [-0.436, 0.373, -0.032, 0.403],
            [-0.452, 0.296, -0.609, -0.643],
            [-0.761, 0.266, -0.526, -0.703],
        ],
        weight_hh_l0=[[0.226, -0.068, -0.971], [-0.973, -0.014, -0.226], [-0.001, -0.997, 0.07]],
    )
    dense = torch.nn.Linear(3, 1)
    output, h_n = layer(X.unsqueeze(0))
    assert torch.equal(h_n[0], output[:, -1])
    score = torch.sigmoid(dense(h_n[0]))
    assert score.shape == (1, 1)
    torch.testing.assert_close(
        score, 1 / (1 + torch.exp(-(output[:, -1] @ dense.weight.T + dense.bias)))
    )
