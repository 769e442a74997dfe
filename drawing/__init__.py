"""The page on which one draws a digit, with the trained network inside.

page.py fills in page.html. What the page computes is written here and in JavaScript, from the same numbers to the same
bits: the network (chain.py and network.js), and whether something looks like a digit at all (doubt.py and doubt.js).
ink.js makes 28 x 28 pixels of a drawing as tools/photo.py does of a photo.
"""
