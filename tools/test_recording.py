"""Tests of record.py and the parts in recording/.

    python3 -m unittest discover tools
"""

import contextlib
import io
import os
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from recording import timeline
from recording.colors import TEXT, WINDOW, Drawn, drawn
from recording.frames import frames
from recording.screen import BLANK, Cell, Screen
from recording.style import PLAIN, restyled
from recording.svg import render, text_of
from recording.timeline import Event, Run

if os.name == "posix":
    import record
    from recording import pty_run

SVG = "{http://www.w3.org/2000/svg}"


def screen(text, columns=10, rows=4):
    screen = Screen(columns, rows)
    screen.feed(text.encode())
    return screen


def lines(text, columns=10, rows=4):
    """What a screen shows, without the blanks at the ends of lines."""
    return ["".join(cell.text for cell in row).rstrip() for row in screen(text, columns, rows).shown().rows]


class ScreenTest(unittest.TestCase):
    def check(self, text, expected, columns=10, rows=4):
        self.assertEqual(lines(text, columns, rows), expected + [""] * (rows - len(expected)))

    def test_text_wraps_when_the_next_character_comes(self):
        self.check("0123456789", ["0123456789"])
        self.assertEqual(screen("0123456789").row, 0)
        self.check("0123456789a", ["0123456789", "a"])
        self.check("0123456789\r\na", ["0123456789", "a"])
        self.check("\x1b[?7l0123456789ab", ["012345678b"])

    def test_controls_move(self):
        self.check("ab\rc", ["cb"])
        self.check("ab\nc", ["ab", "  c"])
        self.check("ab\b\bc", ["cb"])
        self.check("a\tb", ["a       b"])

    def test_sequences_move(self):
        self.check("\x1b[2;3Ha\x1b[Hb\x1b[3dc\x1b[5Gd", ["b", "  a", " c  d"])
        self.check("abc\x1b[2Dx\x1b[Ay\x1b[By\x1b[Cz", ["axy", "   y z"])
        self.check("\x1b[99;99Hx\x1b[99A\x1b[99Dy", ["y", "", "", "         x"])
        self.check("ab\x1b[2Ec\x1b[Fd", ["ab", "d", "c"])
        self.check("a\x1b7bc\x1b8x\x1b[sy\x1b[uz", ["axz"])

    def test_erases(self):
        self.check("abcdef\x1b[3G\x1b[K", ["ab"])
        self.check("abcdef\x1b[3G\x1b[1K", ["   def"])
        self.check("abcdef\x1b[2K", [])
        self.check("abcdef\x1b[2G\x1b[2X", ["a  def"])
        self.check("ab\r\ncd\r\nef\x1b[2;2H\x1b[J", ["ab", "c"])
        self.check("ab\r\ncd\r\nef\x1b[2;2H\x1b[1J", ["", "", "ef"])
        self.check("ab\r\ncd\x1b[2Jx", ["", "  x"])

    def test_inserts_and_deletes(self):
        self.check("abcd\x1b[2G\x1b[2@", ["a  bcd"])
        self.check("abcd\x1b[2G\x1b[2P", ["ad"])
        self.check("a\r\nb\r\nc\x1b[2H\x1b[L", ["a", "", "b", "c"])
        self.check("a\r\nb\r\nc\x1b[2H\x1b[M", ["a", "c"])
        self.check("a\x1b[3b", ["aaaa"])

    def test_scrolls(self):
        self.check("a\r\nb\r\nc\r\nd\r\ne", ["b", "c", "d", "e"])
        self.assertEqual(screen("a\r\nb\r\nc\r\nd\r\ne").shown().scrolled, 1)
        self.check("a\r\nb\x1b[H\x1bMc", ["c", "a", "b"])
        self.check("a\r\nb\x1b[S\x1b[2T", ["", "", "b"])

    def test_margins_hold_the_rest(self):
        margins = "a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3H\nx"
        self.check(margins, ["a", "c", "x", "d"])
        self.assertEqual(screen(margins).shown().scrolled, 0, "no line has left the screen")

    def test_the_alternate_screen_leaves_the_main_one_as_it_was(self):
        self.check("ab\x1b[?1049hxyz\r\n\x1b[31mq", ["  xyz", "q"])
        again = screen("ab\x1b[?1049hxyz\r\n\x1b[31mq\n\n\n\n\x1b[?1049lc")
        self.assertEqual(text_of(again.shown()), "abc")
        self.assertEqual(again.style, PLAIN)
        self.assertEqual(again.shown().scrolled, 0)

    def test_wide_and_combining_characters(self):
        self.check("日本x", ["日本x"])
        self.assertEqual(screen("日本x").column, 5)
        self.check("012345678日", ["012345678", "日"])
        self.check("日\x1b[2Gx", [" x"])
        self.check("日\x1b[1Gx", ["x"])
        self.assertEqual(screen("e\u0301x").shown().rows[0][0].text, "e\u0301")
        self.assertEqual(screen("日\u0301").shown().rows[0][0].text, "日\u0301")

    def test_what_is_cut_off_waits_for_the_rest(self):
        whole = "é日\x1b[31mx\x1b]0;title\x07y\x1b[0m\x1b[2;2Hz".encode()
        at_once = Screen(10, 4)
        at_once.feed(whole)
        by_bytes = Screen(10, 4)
        for byte in whole:
            by_bytes.feed(bytes([byte]))
        self.assertEqual(by_bytes.shown(), at_once.shown())
        self.assertEqual(text_of(at_once.shown()), "é日xy\n z")

    def test_synchronized_updates_are_seen_when_they_end(self):
        self.assertEqual(text_of(screen("a\x1b[?2026hb").shown()), "a")
        self.assertEqual(text_of(screen("a\x1b[?2026hb\x1b[?2026l").shown()), "ab")

    def test_the_cursor_is_seen_unless_hidden(self):
        self.assertEqual(screen("ab").shown().cursor, (0, 2))
        self.assertIsNone(screen("ab\x1b[?25l").shown().cursor)

    def test_what_draws_nothing_is_silent_and_the_unknown_is_named(self):
        silent = screen("\x1b[?2004h\x1b[?1000h\x1b]0;a title\x1b\\\x1b[>4;1m\x1bP1$r\x1b\\\x1b(Ba\x07")
        self.assertEqual((text_of(silent.shown()), silent.unknown), ("a", set()))
        self.assertEqual(screen("\x1b[4h\x1b[1z\x1b#8").unknown, {"CSI 4h", "CSI z", "ESC #8"})

    def test_broken_bytes_and_huge_numbers_do_no_harm(self):
        broken = Screen(10, 4)
        broken.feed(b"a\xff\x1b[99999999999999999999B\x1b[9999999999999999@\x1b[\x1b[31mb")
        self.assertEqual(broken.shown().rows[3][2].text, "b")


class StyleTest(unittest.TestCase):
    def test_colours(self):
        for parameters, foreground, background in [
            ("31", 1, None),
            ("97;44", 15, 4),
            ("38;5;208;48;2;1;2;3", 208, (1, 2, 3)),
            ("38:2::10:20:30", (10, 20, 30), None),
            ("38:2:10:20:30", (10, 20, 30), None),
            ("31;39;41;49", None, None),
            ("38;5", None, None),
        ]:
            with self.subTest(parameters):
                style = restyled(PLAIN, parameters)
                self.assertEqual((style.foreground, style.background), (foreground, background))

    def test_flags_are_set_and_taken_away(self):
        style = restyled(PLAIN, "1;3;4;7;9")
        flags = (style.is_bold, style.is_italic, style.is_underlined, style.is_inverse, style.is_struck)
        self.assertEqual(flags, (True,) * 5)
        self.assertEqual(restyled(style, "22;23;24;27;29"), PLAIN)
        self.assertEqual(restyled(style, ""), PLAIN)
        self.assertEqual(restyled(PLAIN, "38;5;1;1"), PLAIN._replace(foreground=1, is_bold=True))

    def test_erased_cells_keep_the_background(self):
        cell = screen("\x1b[1;41m\x1b[K").shown().rows[0][5]
        self.assertEqual(cell, Cell(" ", PLAIN._replace(background=1)))

    def test_cells_as_they_are_drawn(self):
        self.assertEqual(drawn(BLANK, False), Drawn())
        self.assertEqual(drawn(Cell("a", PLAIN), False), Drawn("a", TEXT))
        inverse = drawn(Cell("a", PLAIN._replace(is_inverse=True)), False)
        self.assertEqual((inverse.foreground, inverse.background), (WINDOW, TEXT))
        self.assertEqual(drawn(Cell("a", PLAIN._replace(foreground=196)), False).foreground, "#ff0000")
        self.assertEqual(drawn(Cell("a", PLAIN._replace(foreground=244)), False).foreground, "#808080")
        self.assertEqual(drawn(Cell("█", PLAIN), False), Drawn(background=TEXT))
        self.assertIsNotNone(drawn(BLANK, True).background, "the cursor is seen on a blank too")


def picture(events, columns=20, rows=5, fps=10, seconds=10.0):
    taken, _ = frames(events, columns, rows, fps)
    svg = render(taken, columns, rows, seconds, "a <title>", "real time")
    return svg, ElementTree.fromstring(svg)


def appearances(svg, root, seconds):
    """What every group draws, by the second at which its animation shows it."""
    shares = dict(re.findall(r"@keyframes (f\d+)\{0%,([\d.]+)%\{visibility:hidden\}\}", svg))
    result = {}
    for group in root.find(f".//{SVG}g[@id='s']"):
        name = group.get("style", "").removeprefix("animation-name:")
        second = float(shares[name]) * seconds / 100 if name else 0.0
        result[round(second, 3)] = "".join(text.text for text in group.iter(f"{SVG}text"))
    return result


class FramesTest(unittest.TestCase):
    def test_a_frame_shows_what_there_is_at_the_end_of_its_tick(self):
        events = [(0.0, b"a"), (0.12, b"b"), (0.18, b"c"), (0.3, b"d"), (0.9, b"")]
        taken, unknown = frames(events, 10, 2, 10)
        self.assertEqual([(frame.seconds, text_of(frame.shown)) for frame in taken],
                         [(0.0, "a"), (0.2, "abc"), (0.3, "abcd")])
        self.assertEqual(unknown, [])

    def test_what_does_not_change_is_no_frame(self):
        taken, _ = frames([(0.0, b"a"), (0.5, b"\ra"), (0.9, b"\x1b[m")], 10, 2, 10)
        self.assertEqual(len(taken), 1)

    def test_typing_ends_where_the_run_begins(self):
        events, end = timeline.complete("ls -l", [Event(0.25, b"out\r\n")], 0.5)
        _, entered = timeline.typed("ls -l")
        self.assertEqual(events[-2:], [(entered + 0.25, b"out\r\n"), (end, timeline.PROMPT)])
        self.assertEqual(end, entered + 0.5)
        self.assertEqual([event.seconds for event in events], sorted(event.seconds for event in events))
        last = frames(events, 20, 5, 25)[0][-1]
        self.assertEqual(text_of(last.shown), "$ ls -l\nout\n$")
        self.assertEqual(timeline.typed("ls -l"), timeline.typed("ls -l"), "it can be made again")

    def test_only_long_pauses_are_shortened(self):
        run = Run([Event(0.5, b"a"), Event(4.5, b"b"), Event(5.0, b"c")], 9.0, 0)
        events, seconds = timeline.shortened(run, 1.0)
        self.assertEqual([at for at, _ in events], [0.5, 1.5, 2.0])
        self.assertEqual(seconds, 3.0)
        self.assertEqual(timeline.shortened(run, 60.0), (run.events, 9.0))


class SvgTest(unittest.TestCase):
    def test_frames_appear_when_they_were(self):
        svg, root = picture([(0.0, b"\x1b[?25la"), (1.0, b"bc"), (2.5, b"\x1b[31md"), (4.0, b"\r\x1b[mx")])
        self.assertEqual(appearances(svg, root, 10.0), {0.0: "a", 1.0: "bc", 2.5: "d", 4.0: "x"})
        self.assertIn("animation:10s step-start infinite", svg)

    def test_characters_have_places_of_their_own(self):
        svg, _ = picture([(0.0, "\x1b[?25la \x1b[2;4H<é\x1b[3;1H日🎉e\u0301".encode())])
        for element in ['<text x="0 3 4 0" y="0 2 2 4">a&lt;é日</text>', '<text x="2" y="4">🎉</text>',
                        '<text x="4" y="4">e\u0301</text>']:
            self.assertIn(element, svg)

    def test_a_long_line_says_its_height_once(self):
        svg, _ = picture([(0.0, b"\x1b[?25l0123456789abcdef")])
        self.assertIn('y="0">0123456789abcdef</text>', svg)

    def test_what_was_there_is_painted_over(self):
        svg, root = picture([(0.0, b"\x1b[?25labcd"), (1.0, b"\x1b[2G\x1b[K")])
        groups = list(root.find(f".//{SVG}g[@id='s']"))
        self.assertEqual([path.get("d") for path in groups[1]], ["M1 -0.5h3"])
        self.assertEqual([path.get("d") for path in groups[0].iter(f"{SVG}path")], [], "nothing was there before")

    def test_backgrounds_have_their_colour(self):
        svg, _ = picture([(0.0, b"\x1b[?25l\x1b[48;5;196m  \x1b[m \x1b[48;5;196m \x1b[2;1H ")])
        name = re.search(r"\.(c\d+)\{stroke:#ff0000\}", svg)[1]
        self.assertIn(f'<path class="{name}" d="M0 -0.5h2M3 -0.5h1M0 1.5h1"/>', svg)

    def test_scrolling_moves_the_picture_and_draws_only_the_new_line(self):
        events = [(0.0, b"\x1b[?25l1\r\n2\r\n3\r\n4\r\n5"), (1.0, b"\r\n6"), (2.0, b"\r\n7")]
        svg, root = picture(events)
        self.assertEqual(appearances(svg, root, 10.0), {0.0: "12345", 1.0: "6", 2.0: "7"})
        for rule in ["#s{transform:translateY(-4px);animation:s 10s step-end infinite}",
                     "0%{transform:translateY(0px)}10%{transform:translateY(-2px)}20%{transform:translateY(-4px)}"]:
            self.assertIn(rule, svg)

    def test_it_says_what_it_is_and_ends_with(self):
        svg, root = picture([(0.0, b"a <b> & c"), (1.0, b"\r\nthe end")])
        self.assertEqual(root.find(f"{SVG}title").text, "a <title>")
        self.assertTrue(root.find(f"{SVG}desc").text.endswith("a <b> & c\nthe end"))
        self.assertEqual(root.get("aria-labelledby").split(), ["title", "desc"])
        self.assertEqual(root.get("role"), "img")

    def test_it_holds_nothing_that_an_image_may_not_hold(self):
        svg, root = picture([(0.0, b"a"), (1.0, b"b")])
        self.assertEqual({element.tag.removeprefix(SVG) for element in root.iter()},
                         {"svg", "title", "desc", "style", "rect", "path", "circle", "text", "g"})
        self.assertEqual(re.findall(r"url\(|@import|href|\bon\w+=", svg), [])
        self.assertIn("@media(prefers-reduced-motion:reduce){#s,#s>g{animation:none!important}}", svg)


@unittest.skipUnless(os.name == "posix", "a pty needs a Unix")
class RunTest(unittest.TestCase):
    def test_a_command_sees_a_terminal_of_the_size(self):
        run = pty_run.run(["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size"], 33, 7, 20)
        self.assertEqual((b"".join(event.data for event in run.events), run.exit_code), (b"7 33\r\n", 0))

    def test_times_are_real(self):
        run = pty_run.run(["sh", "-c", "printf one; sleep 0.6; printf two; sleep 0.2"], 20, 5, 20)
        first, second = run.events
        self.assertEqual((first.data, second.data), (b"one", b"two"))
        # A busy machine makes any of it later, and none of it earlier.
        self.assertGreaterEqual(second.seconds, 0.6)
        self.assertLess(first.seconds, second.seconds)
        self.assertGreaterEqual(run.seconds, 0.8)

    def test_much_output_comes_whole(self):
        run = pty_run.run(["sh", "-c", "seq 1 20000"], 20, 5, 60)
        self.assertEqual(b"".join(event.data for event in run.events).split(), [b"%d" % i for i in range(1, 20001)])

    def test_failures_are_told(self):
        self.assertEqual(pty_run.run(["sh", "-c", "exit 3"], 20, 5, 20).exit_code, 3)
        self.assertEqual(pty_run.run(["no-such-program-here"], 20, 5, 20).exit_code, 127)
        with self.assertRaises(pty_run.TimedOut):
            pty_run.run(["sleep", "60"], 20, 5, 0.2)
        with self.assertRaises(pty_run.TimedOut):
            pty_run.run(["sh", "-c", "exec sleep 60 <&- >&- 2>&-"], 20, 5, 0.2)


@unittest.skipUnless(os.name == "posix", "a pty needs a Unix")
class RecordTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name) / "deep" / "a.svg"

    def main(self, *words):
        """The exit code and what was said."""
        with contextlib.redirect_stderr(io.StringIO()) as said:
            return record.main([str(self.out), *words]), said.getvalue()

    def test_a_real_command(self):
        code, said = self.main(r"printf 'caf\303\251 \033[1;31mred\033[0m\n'", "--rows", "4", "--columns", "50")
        self.assertEqual(code, 0, said)
        root = ElementTree.parse(self.out).getroot()
        self.assertTrue(root.find(f"{SVG}desc").text.endswith("\ncafé red\n$"))
        self.assertRegex(root.find(f"{SVG}desc").text, r"^real time, \d+\.\d s\. ")
        self.assertEqual([path.name for path in self.out.parent.iterdir()], ["a.svg"])

    def test_shortened_pauses_are_named(self):
        self.assertEqual(self.main("sh -c 'sleep 0.4; echo a'", "--max-idle", "0.1")[0], 0)
        self.assertIn(", pauses cut to 0.1 s", self.out.read_text())
        self.assertEqual(self.main("echo a", "--max-idle", "10")[0], 0)
        self.assertNotIn("pauses cut", self.out.read_text())

    def test_what_is_refused_writes_nothing(self):
        for words, expected in [
            (["false"], "ended with 1"),
            (["no-such-program-here"], "found no program `no-such-program-here`"),
            (["seq 1 100", "--max-bytes", "2000"], "expected at most 2000"),
            (["sleep 60", "--timeout", "0.2"], "still running"),
        ]:
            with self.subTest(words):
                code, said = self.main(*words)
                self.assertEqual(code, 1)
                self.assertIn(expected, said)
                self.assertFalse(self.out.exists())


if __name__ == "__main__":
    unittest.main()
