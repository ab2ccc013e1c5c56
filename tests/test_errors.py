"""What is said of an error that is not one of ours."""

from dials_async.errors import in_one_line


def test_an_error_of_others_is_one_line() -> None:
    assert in_one_line(ValueError("two\n  lines")) == "ValueError: two lines"


def test_a_page_of_numba_is_cut_and_its_place_kept() -> None:
    text = "Failed in nopython mode pipeline\n" + 50 * "No implementation of function\n"
    error = TypeError(
        text + 'File "tanks/compiled.py", line 3:\ndef step(\nFile "tanks/compiled.py", line 44:\n  x'
    )
    line = in_one_line(error)
    assert line.startswith("TypeError: Failed in nopython mode pipeline No implementation of function No")
    assert line.endswith(" ... (tanks/compiled.py:44)")
    assert len(line) < 400
