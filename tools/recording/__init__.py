"""A terminal recording: a command in a pty, what it shows on a screen, and an SVG that shows it again.

    pty_run   runs the command and keeps its bytes with their times
    timeline  puts the typed command before them, and shortens pauses where that is wanted
    escapes   bytes → text, controls and escape sequences
    screen    these → cells of a terminal
    frames    cells at the times at which they changed
    colors    styles → colours, shades and blocks as rectangles
    svg       frames → an animated SVG
"""
