"""When a candidate is proven worse, or proven good enough: pure statistics of pass rates.

Anytime-valid: a verdict may be looked for at any moment, as often as one likes. Every test is an e-process
(betting: Waudby-Smith and Ramdas 2023, "Estimating means of bounded random variables by betting"): a fortune
that in a fair game reaches 1/alpha, ever, with a chance of at most alpha (Ville's inequality).
Shares run from 0 to 1; a drop is incumbent minus candidate, so a positive one is damage.
"""
