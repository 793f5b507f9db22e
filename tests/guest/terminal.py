"""A VT100 as far as text-mode programs use it: bytes in, a screen of characters out. No colours.

DEC VT100 User Guide, chapter 3; line-drawing characters come out as box-drawing ones."""
import re

LINES = dict(zip("`afgjklmnopqrstuvwxyz{|}~", "◆▒°±┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·"))
SEQUENCE = re.compile(r"\x1b(?:\[([?>]?)([0-9;]*)([@-~])|([()])(.)|#(.)|([0-9=>A-Za-z]))")
PREFIX = re.compile(r"\x1b(?:\[[?>]?[0-9;]*|[()#])?$")


class Terminal:
    def __init__(self, rows=24, columns=80):
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.top, self.bottom = 0, rows - 1
        self.drawing = {"(": False, ")": False}  # G0 and G1 hold line-drawing characters
        self.shift = "("
        self.saved = (0, 0)
        self.rest = b""

    def feed(self, data):
        data = self.rest + data
        text = data.decode("utf-8", errors="replace")
        tail = PREFIX.search(text)
        self.rest = text[tail.start():].encode() if tail else b""
        text = text[:tail.start()] if tail else text
        while text:
            found = SEQUENCE.match(text)
            if found:
                self.sequence(found)
                text = text[found.end():]
            else:
                self.character(text[0])
                text = text[1:]

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells).rstrip("\n")

    def character(self, c):
        if c == "\r":
            self.column = 0
        elif c == "\n":
            self.line_feed()
        elif c == "\b":
            self.column = max(0, self.column - 1)
        elif c == "\t":
            self.column = min(self.columns - 1, self.column // 8 * 8 + 8)
        elif c == "\x0e":
            self.shift = ")"
        elif c == "\x0f":
            self.shift = "("
        elif c >= " ":
            if self.column == self.columns:
                self.column = 0
                self.line_feed()
            self.cells[self.row][self.column] = LINES.get(c, c) if self.drawing[self.shift] else c
            self.column += 1

    def line_feed(self):
        if self.row == self.bottom:
            self.scroll(self.top, 1)
        else:
            self.row = min(self.rows - 1, self.row + 1)

    def scroll(self, start, count):
        """Lines from start to the bottom margin move up by count, or down if it is negative."""
        for _ in range(abs(count)):
            self.cells.pop(start if count > 0 else self.bottom)
            self.cells.insert(self.bottom if count > 0 else start, [" "] * self.columns)

    def erase(self, row, start, end):
        self.cells[row][start:end] = [" "] * (end - start)

    def sequence(self, found):
        private, numbers, final, which, charset, _, short = found.groups()
        if which:
            self.drawing[which] = charset == "0"
        elif final and not private:
            self.control(final, [int(n or 0) for n in numbers.split(";")])
        elif short == "M" and self.row == self.top:
            self.scroll(self.top, -1)
        elif short == "M":
            self.row = max(0, self.row - 1)
        elif short in ("D", "E"):
            self.line_feed()
            self.column = 0 if short == "E" else self.column
        elif short == "7":
            self.saved = (self.row, self.column)
        elif short == "8":
            self.row, self.column = self.saved

    def control(self, final, n):
        count = max(1, n[0])
        column = min(self.column, self.columns - 1)
        if final in "Hf":
            self.row = min(self.rows, count) - 1
            self.column = min(self.columns, max(1, n[1] if len(n) > 1 else 1)) - 1
        elif final == "A":
            self.row = max(0, self.row - count)
        elif final == "B":
            self.row = min(self.rows - 1, self.row + count)
        elif final == "C":
            self.column = min(self.columns - 1, column + count)
        elif final == "D":
            self.column = max(0, column - count)
        elif final == "G":
            self.column = min(self.columns, count) - 1
        elif final == "d":
            self.row = min(self.rows, count) - 1
        elif final == "K":
            self.erase(self.row, 0 if n[0] else column, column + 1 if n[0] == 1 else self.columns)
        elif final == "J":
            self.control("K", n)
            for row in range(self.rows):
                if n[0] == 2 or (row > self.row if n[0] == 0 else row < self.row):
                    self.erase(row, 0, self.columns)
        elif final == "r":
            self.top = count - 1
            self.bottom = min(self.rows, n[1] if len(n) > 1 and n[1] else self.rows) - 1
            self.row = self.column = 0
        elif final in "LM":
            self.scroll(self.row, count if final == "M" else -count)
        elif final == "P":
            self.cells[self.row] = (self.cells[self.row][:column] + self.cells[self.row][column + count:]
                                    + [" "] * count)[:self.columns]
