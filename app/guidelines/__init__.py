"""Guidelines: what a company has written down about the use of data and machines, cited where rules refuse something.

They decide nothing. Rules say what is refused; the passages that speak of the same things say why a person should care.
"""
