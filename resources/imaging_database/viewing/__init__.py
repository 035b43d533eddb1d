"""What pages and programs read of plates, inspections, images and what people and models say of them.

Each function answers for one viewer: a plate that the viewer may not see is answered for as one that does not exist.
Lists go on from a cursor, never from a count of rows.
"""
