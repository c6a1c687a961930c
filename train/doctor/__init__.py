"""Is everything that training needs there, and does it work?"""
